#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <jansson.h>

#include "common/cleanup.h"

/* A JSON value that is released with its scope: json_freep, json_take. */
DEFINE_HANDLE(json, json_t, json_decref)

#endif
