#include "tests/simulate/checks.h"

#include "tests/simulate/broker.h"
#include "tests/simulate/database.h"
#include "tests/simulate/klaviyo.h"
#include "tests/simulate/people.h"
#include "tests/simulate/trace.h"

static bool is_member(int export, int person)
{
    return people[person].well_formed &&
           (people[person].segments & database.exports[export].segments);
}

static void check_member(int export, int person)
{
    const struct export_row *x = &database.exports[export];
    const struct klaviyo_profile *profile = &klaviyo_profiles[x->account][person];

    must(profile->on_list[x->list], "person %d is missing on the list of e%d", person, export);
    must(profile->value[export] == people[person].value,
         "person %d has value %d, Klaviyo has %d from e%d", person, people[person].value,
         profile->value[export], export);
}

static bool was_withheld(int export)
{
    for (int64_t i = database.n_runs; i >= 1; i--)
        if (database.runs[i].export == export)
            return database.runs[i].reason == REASON_REMOVALS_WITHHELD;
    return false;
}

/* An export to that list has the person, or keeps whom it once had. */
static bool may_be_on(int account, int list, int person)
{
    for (int i = 0; i < EXPORTS; i++) {
        const struct export_row *x = &database.exports[i];

        if (x->account == account && x->list == list &&
            (!x->removes_leavers || is_member(i, person) || was_withheld(i)))
            return true;
    }
    return false;
}

static void check_lists(int person)
{
    for (int account = 0; account < ACCOUNTS; account++)
        for (int list = 0; list < LISTS; list++)
            must(!klaviyo_profiles[account][person].on_list[list] ||
                     may_be_on(account, list, person),
                 "person %d has left, and is on list %d of account %d", person, list, account);
}

static void check_outcomes(void)
{
    for (int64_t i = 1; i <= database.n_runs; i++) {
        const struct run_row *run = &database.runs[i];

        for (int s = 0; s < SEGMENTS; s++)
            must(!(database.exports[run->export].segments >> s & 1) ||
                     broker_has_outcome(i, run->epoch, s),
                 "no outcome of run %d was sent", (int)i);
    }
}

void check_end(void)
{
    for (int person = 0; person < PEOPLE; person++) {
        for (int export = 0; export < EXPORTS; export ++)
            if (is_member(export, person) && people[person].dislike == LIKED)
                check_member(export, person);
        check_lists(person);
    }
    check_outcomes();
}

void check_calm(void)
{
    for (int64_t i = 1; i <= database.n_runs; i++)
        must(database.runs[i].state == RUN_SUCCEEDED, "run %d ended as %s without any trouble",
             (int)i, run_state_name(database.runs[i].state));
    for (int64_t i = 1; i <= database.n_batches; i++)
        must(database.batches[i].posts <= 1, "batch %d was sent %d times without any trouble",
             (int)i, database.batches[i].posts);
}
