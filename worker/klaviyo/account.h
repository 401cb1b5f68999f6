#ifndef WORKER_KLAVIYO_ACCOUNT_H
#define WORKER_KLAVIYO_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * The account an API key belongs to. Rate limits are counted per account, so two keys
 * of one account must be recognised.
 */
enum {
    ACCOUNT_ID_BYTES = 129,
    ACCOUNT_NAME_BYTES = 256, /* longer names are cut */
    API_KEY_MAX = 512,        /* seen: 37 characters */
};

struct account {
    char id[ACCOUNT_ID_BYTES];     /* never empty */
    char name[ACCOUNT_NAME_BYTES]; /* of the organization, UTF-8; may be empty */
};

/*
 * The form of a private key: "pk_" and printable ASCII without blanks. The error says so
 * if it looks like the public one. The text never repeats the key.
 */
bool api_key_check(const char *key, size_t n, struct error *err) MUST_USE;

/* GET of the account that the key belongs to; owns nothing. */
struct request account_request(void);

/* ERROR_RETRY: malformed. */
bool account_parse(const struct response *response, struct account *out, struct error *err)
    MUST_USE;

#endif
