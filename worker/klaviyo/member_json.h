#ifndef WORKER_KLAVIYO_MEMBER_JSON_H
#define WORKER_KLAVIYO_MEMBER_JSON_H

#include <jansson.h>

#include "common/bytes.h"
#include "common/cleanup.h"

/*
 * JSON that holds values of members: what is sent, and what Klaviyo answers about it. Numbers
 * of theirs that jansson cannot hold are the strings of their characters in it.
 * NULL: it is no JSON, or there is no memory. The caller owns it.
 */
json_t *member_json_load(struct bytes text) MUST_USE;

#endif
