#include "worker/store/guard.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const names[GUARDS_N] = {
    [GUARD_TOO_MANY_INVALID] = "too_many_invalid",
    [GUARD_SIZE_JUMPED] = "size_jumped",
    [GUARD_OVER_PLAN_LIMIT] = "over_plan_limit",
    [GUARD_LIST_STARTS_FLOWS] = "list_starts_flows",
};

static const char *const plans[] = {
    [GUARD_PLAN_WARN] = "warn",
    [GUARD_PLAN_STOP] = "stop",
    [GUARD_PLAN_IGNORE] = "ignore",
};

const char *guard_name(enum guard guard)
{
    assert(guard < GUARDS_N);
    return names[guard];
}

bool guard_find(const char *name, size_t n, enum guard *guard)
{
    for (int i = 0; i < GUARDS_N; i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) {
            *guard = (enum guard)i;
            return true;
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
                                    names[i]);
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

const char *guard_plan_name(enum guard_plan plan)
{
    return plans[plan];
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
