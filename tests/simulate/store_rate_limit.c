#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/trace.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/store/rate_limit.h"

/*
 * store/rate_limit.h. The counting itself is SQL, and has its own tests; here dice say
 * whether there is a permit, and all wait until Klaviyo said to come back.
 */
static int refused_permille;
static int64_t permits;

void rate_limits_begin(int permille)
{
    refused_permille = permille;
    permits = 0;
}

static int64_t *blocked_until(const char *account, const char *endpoint)
{
    for (enum endpoint i = 0; i < ENDPOINT_COUNT; i++)
        if (strcmp(endpoint_name(i), endpoint) == 0)
            return &database.accounts[account[1] - '0'].blocked_until_ms[i];
    must(false, "there is no endpoint %s", endpoint);
    return NULL;
}

bool rate_limit_acquire(struct db *db, const struct rate_limit_claim *claim,
                        struct rate_limit_permit *permit, struct error *err)
{
    *permit = (struct rate_limit_permit){ .permit_id = 0 };
    if (!statement_arrives(db, err))
        return false;
    int64_t blocked_ms = *blocked_until(claim->account, claim->endpoint) - fiber_now_ms();
    if (blocked_ms > 0)
        permit->wait_ms = blocked_ms;
    else if (dice_chance(refused_permille))
        permit->wait_ms = 1 + dice(4000);
    else
        permit->permit_id = ++permits;
    return statement_is_answered(db, err);
}

bool rate_limit_release(struct db *db, int64_t permit_id UNUSED, struct error *err)
{
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool rate_limit_slow(struct db *db, const char *account UNUSED, const char *endpoint UNUSED,
                     int64_t *pace, struct error *err)
{
    *pace = 0;
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool rate_limit_block(struct db *db, const char *account, const char *endpoint, int64_t wait_ms,
                      struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    int64_t *until = blocked_until(account, endpoint);
    if (*until < fiber_now_ms() + wait_ms)
        *until = fiber_now_ms() + wait_ms;
    return statement_is_answered(db, err);
}
