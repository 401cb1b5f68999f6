#ifndef COMMON_RETRY_H
#define COMMON_RETRY_H

#include <stdint.h>

/*
 * How long to wait before trying again, as a value.
 *
 * Full jitter: a random time between nothing and a bound that doubles with each
 * attempt, so that callers that failed together do not come back together.
 */
struct retry_policy {
    int64_t base_ms; /* bound of the first wait */
    int64_t cap_ms;  /* bound of all */
};

/* For a service on the internet. */
#define RETRY_POLICY ((struct retry_policy){ .base_ms = 500, .cap_ms = 60000 })

/*
 * attempt: how often it failed, from 1. random: any number, all equally likely.
 * floor_ms: never less than this, whatever the policy says (Retry-After); 0:
 * none.
 */
int64_t retry_wait_ms(struct retry_policy policy, unsigned attempt, uint32_t random,
                      int64_t floor_ms);

#endif
