#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/trace.h"
#include "worker/store/leavers.h"

/* store/leavers.h: who left, by schemas/sql/0032_removal.sql. The collection is a set of people. */

void leavers_init(struct leavers *leavers)
{
    *leavers = (struct leavers){ .n = 0 };
}

void leavers_release(struct leavers *leavers)
{
    leavers_init(leavers);
}

void leavers_clear(struct leavers *leavers)
{
    leavers_init(leavers);
}

void leavers_add(struct leavers *leavers, const char *address, size_t len UNUSED)
{
    leavers->addresses.len |= (size_t)1 << person_number(address + 1);
    leavers->n++;
}

/* The row of the i-th person of the collection; NULL: not of it, or there is none. */
static struct ledger_entry *entry_of(const struct run_task *task, size_t set, int person)
{
    struct ledger_entry *entry = &database.ledger[task->export_id - 1][person];

    return (set >> person & 1) && entry->known ? entry : NULL;
}

static void mark(const struct run_task *task, struct ledger_entry *entry)
{
    entry->left_run = task->run_id;
    entry->left_epoch = database.runs[task->run_id].epoch;
}

static void forget(const struct run_task *task UNUSED, struct ledger_entry *entry)
{
    *entry = (struct ledger_entry){ .known = false };
}

static bool write(struct db *db, const struct run_task *task, struct leavers *leavers,
                  void (*change)(const struct run_task *task, struct ledger_entry *entry),
                  struct error *err)
{
    if (leavers->n == 0)
        return true;
    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task))
        return statement_is_refused(db, err);
    for (int i = 0; i < PEOPLE; i++) {
        struct ledger_entry *entry = entry_of(task, leavers->addresses.len, i);

        if (entry)
            change(task, entry);
    }
    if (!statement_is_answered(db, err))
        return false;
    leavers_clear(leavers);
    return true;
}

bool leavers_mark(struct db *db, const struct run_task *task, struct leavers *leavers,
                  struct error *err)
{
    return write(db, task, leavers, mark, err);
}

bool leavers_forget(struct db *db, const struct run_task *task, struct leavers *leavers,
                    struct error *err)
{
    return write(db, task, leavers, forget, err);
}

void leaver_chunk_release(struct leaver_chunk *chunk)
{
    for (size_t i = 0; i < chunk->n; i++)
        free(chunk->items[i].address);
    free(chunk->items);
    *chunk = (struct leaver_chunk){ .n = 0 };
}

/* ---- the claim ---- */

static bool shares_list(int a, int b)
{
    return a != b && database.exports[a].list == database.exports[b].list &&
           database.exports[a].account == database.exports[b].account;
}

static bool is_sent_to(int export)
{
    for (int64_t i = 1; i <= database.n_runs; i++) {
        const struct run_row *run = &database.runs[i];

        if (shares_list(run->export, export) && run->state == RUN_RUNNING &&
            run->removal_epoch != run->epoch)
            return true;
    }
    return false;
}

static bool is_shared(int export)
{
    for (int i = 0; i < EXPORTS; i++)
        if (shares_list(i, export))
            return true;
    return false;
}

bool leavers_claim_list(struct db *db, const struct run_task *task, enum list_claim *claim,
                        struct error *err)
{
    int export = (int)task->export_id - 1;

    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    run->removal_epoch = run->epoch;
    if (database_list_is_claimed(run) || is_sent_to(export)) {
        *claim = LIST_CLAIM_BUSY;
    } else {
        const struct export_row *x = &database.exports[export];

        database.claims[x->account][x->list].run = task->run_id;
        *claim = is_shared(export) ? LIST_CLAIM_SHARED : LIST_CLAIM_ALONE;
    }
    trace("run %d claims its list: %s", (int)task->run_id,
          *claim == LIST_CLAIM_BUSY ? "busy" : "its own");
    return statement_is_answered(db, err);
}

/* ---- taking them off ---- */

/* Marked by the pass that planned, and behind `after`. */
static bool is_marked(const struct run_task *task, const struct leavers_window *window, int person)
{
    const struct ledger_entry *entry = &database.ledger[task->export_id - 1][person];
    int after = window->after && *window->after ? person_number(window->after + 1) : -1;

    return entry->known && person > after && entry->left_run == task->run_id &&
           entry->left_epoch == database.runs[task->run_id].plan_epoch;
}

/* It was on the list before, or an import of it was begun that was not refused. */
static bool holds(const struct ledger_entry *entry)
{
    const struct outbox_row *b = &database.batches[entry->batch];
    bool never_sent = b->state == BATCH_PLANNED && !b->posted_ms;

    return entry->known && !entry->removing &&
           (entry->listed || entry->perhaps_listed ||
            (!never_sent && (!entry->rejected_batch || entry->batch > entry->rejected_batch)));
}

static bool is_held_elsewhere(int export, int person)
{
    for (int i = 0; i < EXPORTS; i++)
        if (shares_list(i, export) && holds(&database.ledger[i][person]))
            return true;
    return false;
}

static char *address_of(int person)
{
    char *address = malloc(32);

    assert(address);
    person_address(person, address);
    return address;
}

bool leavers_release_held(struct db *db, const struct run_task *task,
                          const struct leavers_window *window, struct leavers_released *released,
                          struct error *err)
{
    int export = (int)task->export_id - 1, passed = -1;

    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task))
        return statement_is_refused(db, err);
    released->n = 0;
    for (int i = 0; i < PEOPLE; i++) {
        if (!is_marked(task, window, i))
            continue;
        passed = i;
        if (!is_held_elsewhere(export, i))
            continue;
        database.ledger[export][i].known = false;
        released->n++;
    }
    if (!statement_is_answered(db, err))
        return false;
    released->last = passed >= 0 ? address_of(passed) : NULL;
    return true;
}

bool leavers_fetch(struct db *db, const struct run_task *task, const struct leavers_window *window,
                   struct leaver_chunk *chunk, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task))
        return statement_is_refused(db, err);
    struct leaver_chunk found = { .items = calloc(PEOPLE, sizeof *found.items) };

    assert(found.items);
    for (int i = 0; i < PEOPLE && (int64_t)found.n < window->max; i++) {
        struct ledger_entry *entry = &database.ledger[task->export_id - 1][i];

        if (!is_marked(task, window, i))
            continue;
        entry->removing = true;
        entry->listed = false;
        entry->fingerprint = 0;
        found.items[found.n++].address = address_of(i);
    }
    if (!statement_is_answered(db, err)) {
        leaver_chunk_release(&found);
        return false;
    }
    *chunk = found;
    return true;
}

bool leavers_begin_removal(struct db *db, const struct run_task *task, struct error *err)
{
    const struct export_row *x = &database.exports[task->export_id - 1];

    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task))
        return statement_is_refused(db, err);
    database.claims[x->account][x->list].begun = true;
    return statement_is_answered(db, err);
}

bool leavers_removed(struct db *db, const struct run_task *task, const struct leaver_chunk *chunk,
                     struct error *err)
{
    if (chunk->n == 0)
        return true;
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    for (size_t i = 0; i < chunk->n; i++) {
        const struct leaver *leaver = &chunk->items[i];
        struct ledger_entry *entry =
            &database.ledger[task->export_id - 1][person_number(leaver->address + 1)];

        if (leaver->kept || !entry->known || !entry->removing)
            continue;
        entry->known = false;
        run->removed++;
        run->takes_without_progress = 0;
    }
    return statement_is_answered(db, err);
}
