#ifndef WORKER_TASK_TASK_ARGUMENTS_H
#define WORKER_TASK_TASK_ARGUMENTS_H

#include <jansson.h>

/* What all tasks find in their arguments: task_kind.h says where they come from. Pure. */

/* The connection or export of the arguments; lives as long as they do. Never NULL. */
const char *task_name(const json_t *arguments);

#endif
