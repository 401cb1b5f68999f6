#ifndef WORKER_TASK_JSON_H
#define WORKER_TASK_JSON_H

#include <jansson.h>

#include "common/cleanup.h"

/* For the .c files of this folder: those that include its headers have a handle of their own. */
DEFINE_HANDLE(json, json_t, json_decref)

#endif
