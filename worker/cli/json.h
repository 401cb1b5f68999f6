#ifndef WORKER_CLI_JSON_H
#define WORKER_CLI_JSON_H

#include <jansson.h>

#include "common/cleanup.h"

DEFINE_HANDLE(json, json_t, json_decref)

#endif
