#ifndef WORKER_TASK_PAYLOAD_MASK_H
#define WORKER_TASK_PAYLOAD_MASK_H

#include <jansson.h>

/*
 * Takes the values out of a profile object as it would be sent, and leaves its
 * shape (pure): each value of "attributes" becomes the name of its JSON type,
 * "<string>", "<number>" or "<boolean>", down to the last; names and nulls stay.
 */
void payload_mask(json_t *payload);

#endif
