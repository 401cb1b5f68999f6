#ifndef WORKER_ADMIN_NAME_H
#define WORKER_ADMIN_NAME_H

#include "worker/cli/command.h"

/* 1 to 200 characters of UTF-8, no control characters; what: "connection". */
bool name_check(struct context *context, const char *what, const char *name, struct error *err)
    MUST_USE;

#endif
