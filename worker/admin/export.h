#ifndef WORKER_ADMIN_EXPORT_H
#define WORKER_ADMIN_EXPORT_H

#include "worker/cli/command.h"

/* export add, list, show, update, preview, try, verify, pause, resume, remove */
extern const struct command export_commands[];

/* export_change.c */
bool export_add(struct context *context, struct error *err);
bool export_update(struct context *context, struct error *err);

/* export_preview.c */
bool export_preview(struct context *context, struct error *err);

/* export_try.c */
bool export_try(struct context *context, struct error *err);

/* export_verify.c */
bool export_verify(struct context *context, struct error *err);

#endif
