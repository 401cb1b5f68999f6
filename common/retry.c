#include "common/retry.h"

#include <assert.h>

/* base · 2^(attempt - 1), at most cap: by halving the cap, so that nothing can overflow. */
static int64_t bound_ms(struct retry_policy policy, unsigned attempt)
{
    int64_t bound = policy.base_ms;

    for (unsigned i = 1; i < attempt && bound < policy.cap_ms; i++)
        bound = bound > policy.cap_ms / 2 ? policy.cap_ms : bound * 2;
    return bound < policy.cap_ms ? bound : policy.cap_ms;
}

int64_t retry_wait_ms(struct retry_policy policy, unsigned attempt, uint32_t random,
                      int64_t floor_ms)
{
    assert(attempt > 0 && policy.base_ms > 0 && policy.cap_ms <= INT32_MAX);

    /* From 0 to the bound, both included, without the bias of a remainder. */
    uint64_t choices = (uint64_t)bound_ms(policy, attempt) + 1;
    int64_t wait = (int64_t)((choices * random) >> 32);
    return wait > floor_ms ? wait : floor_ms;
}
