#ifndef WORKER_STORE_GUARD_H
#define WORKER_STORE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/store/run_state.h"

/*
 * The guards that stand between the plan of a run and its first import, by the
 * names that events, commands and the database know them by.
 */
enum guard {
    GUARD_TOO_MANY_INVALID,
    GUARD_SIZE_JUMPED,
    GUARD_OVER_PLAN_LIMIT,
    GUARD_LIST_STARTS_FLOWS,
    GUARDS_N,
};

/* "too_many_invalid", …: as the reason of a run that it ended. A static string. */
const char *guard_name(enum guard guard);
enum run_reason guard_reason(enum guard guard);

/* False: there is no guard of that name. The n bytes need no NUL. */
bool guard_find(const char *name, size_t n, enum guard *guard);

/* Sets of guards: a bit each. */
#define GUARD_BIT(guard) (1U << (guard))

/*
 * A set as the database has it: names separated by commas, in the guards' order;
 * the text has room for GUARD_SET_BYTES. Reading skips unknown names.
 */
enum { GUARD_SET_BYTES = 96 };
void guard_set_write(unsigned set, char *text);
unsigned guard_set_read(const char *text); /* NULL: the empty one */

/* What becomes of new addresses that may not fit into the account's plan. */
enum guard_plan { GUARD_PLAN_WARN, GUARD_PLAN_STOP, GUARD_PLAN_IGNORE };

/* "warn", "stop", "ignore"; false: it is another word. */
bool guard_plan_find(const char *name, enum guard_plan *plan);

/* What an export and the events of a run say of its guards. */
struct guard_rules {
    int64_t max_invalid_percent; /* 0 to 100 */
    bool size_guard;
    enum guard_plan plan;
    bool flows_known;      /* that the list's flows begin is wanted */
    unsigned confirmed;    /* set of guards */
    bool trial;            /* a trial has no guards */
    bool passed;           /* before: an import of this run was begun */
    int64_t last_distinct; /* addresses of the last run that succeeded; -1: there is none.
                              A run that found nobody is nothing to compare with */
};

#endif
