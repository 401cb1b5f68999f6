#ifndef WORKER_KLAVIYO_KLAVIYO_LIST_H
#define WORKER_KLAVIYO_KLAVIYO_LIST_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * A list in Klaviyo: whether it is there, and its name. The verdict GONE says
 * that it is not.
 */
enum {
    LIST_ID_MAX = 128,
    LIST_NAME_BYTES = 256, /* longer names are cut */
};

struct klaviyo_list {
    char id[LIST_ID_MAX + 1];
    char name[LIST_NAME_BYTES]; /* UTF-8; may be empty */
};

/* 1 to 128 of A-Z a-z 0-9 _ -; ids are opaque, this keeps out URLs and typing errors. */
bool klaviyo_list_id_check(const char *id, struct error *err) MUST_USE;

/* id is lent, and has passed the check. */
struct request klaviyo_list_request(const char *id);

/*
 * A page of its profiles, with their addresses: profile_page_parse() reads it. next: from the
 * page before, NULL for the first; both are lent.
 */
struct request klaviyo_list_profiles_request(const char *id, const char *next);

/* ERROR_RETRY: malformed. */
bool klaviyo_list_parse(const struct response *response, struct klaviyo_list *out,
                        struct error *err) MUST_USE;

#endif
