#include "worker/store/guard.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert((int)REASON_LIST_STARTS_FLOWS - (int)REASON_TOO_MANY_INVALID == GUARDS_N - 1,
              "the guards' reasons are in the order of the guards");

static const char *const plans[] = {
    [GUARD_PLAN_WARN] = "warn",
    [GUARD_PLAN_STOP] = "stop",
    [GUARD_PLAN_IGNORE] = "ignore",
};

const char *guard_name(enum guard guard)
{
    return run_reason_name(guard_reason(guard));
}

enum run_reason guard_reason(enum guard guard)
{
    assert(guard < GUARDS_N);
    return (enum run_reason)((int)REASON_TOO_MANY_INVALID + (int)guard);
}

bool guard_find(const char *name, size_t n, enum guard *guard)
{
    for (int i = 0; i < GUARDS_N; i++) {
        const char *known = guard_name((enum guard)i);

        if (strlen(known) == n && memcmp(known, name, n) == 0) {
            *guard = (enum guard)i;
            return true;
        }
    }
    return false;
}

void guard_set_write(unsigned set, char *text)
{
    size_t len = 0;

    text[0] = '\0';
    for (int i = 0; i < GUARDS_N; i++)
        if (set & GUARD_BIT(i))
            len += (size_t)snprintf(text + len, GUARD_SET_BYTES - len, "%s%s", len ? "," : "",
                                    guard_name((enum guard)i));
}

unsigned guard_set_read(const char *text)
{
    unsigned set = 0;
    enum guard guard;

    while (text && *text) {
        size_t n = strcspn(text, ",");

        if (guard_find(text, n, &guard))
            set |= GUARD_BIT(guard);
        text += n + (text[n] == ',');
    }
    return set;
}

bool guard_plan_find(const char *name, enum guard_plan *plan)
{
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++)
        if (strcmp(plans[i], name) == 0) {
            *plan = (enum guard_plan)i;
            return true;
        }
    return false;
}
