#ifndef WORKER_KLAVIYO_USAGE_H
#define WORKER_KLAVIYO_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * What the account's plan allows and how much of it is used: the rows of
 * GET /api/billing-usage that count profiles. A key without the scope usage:read
 * gets the verdict SCOPE_MISSING, which is not an error.
 */
enum {
    USAGE_MAX_ROWS = 8, /* more are left out */
    USAGE_NAME_BYTES = 64,
};

struct usage_row {
    char name[USAGE_NAME_BYTES]; /* the kind of usage, Klaviyo's id */
    int64_t used;                /* profiles */
    int64_t maximum;             /* profiles; -1: no limit named */
};

struct usage {
    struct usage_row rows[USAGE_MAX_ROWS];
    size_t n;
};

/*
 * Of several rows the one with the least room; one without a limit only if all are.
 * NULL: there is none.
 */
const struct usage_row *usage_tightest(const struct usage *usage);

/* GET of the account's usage; owns nothing. */
struct request usage_request(void);

/*
 * A limit with a fraction is rounded down, use is rounded up. No row that counts profiles: n
 * is 0. ERROR_RETRY: malformed, also where a row has a limit or a use that is no number: then
 * nobody knows what the plan allows, which is not the same as no limit.
 */
bool usage_parse(const struct response *response, struct usage *out, struct error *err) MUST_USE;

#endif
