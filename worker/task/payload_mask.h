#ifndef WORKER_TASK_PAYLOAD_MASK_H
#define WORKER_TASK_PAYLOAD_MASK_H

#include <jansson.h>
#include <stdbool.h>

#include "common/cleanup.h"

/*
 * Takes the values out of a profile object as it would be sent, and leaves its
 * shape (pure): each value of "attributes" becomes the name of its JSON type,
 * "<string>", "<number>" or "<boolean>", down to the last; names and nulls stay.
 * False: out of memory, the values are still there and nobody may see it.
 */
bool payload_mask(json_t *payload) MUST_USE;

#endif
