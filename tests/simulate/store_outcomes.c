#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/fiber.h"
#include "worker/store/outcomes.h"

/* store/outcomes.h, by schemas/sql/0025_outcomes.sql. */

static char *text_of(char letter, int number)
{
    char *text;
    int len = asprintf(&text, "%c%02d", letter, number);

    assert(len > 0);
    return text;
}

static struct outcome read_outcome(int64_t number)
{
    const struct outcome_row *row = &database.outcomes[number];
    const struct run_row *run = &database.runs[row->run];

    return (struct outcome){ .outcome_id = number,
                             .run_id = row->run,
                             .epoch = row->epoch,
                             .succeeded = run->state != RUN_FAILED && run->state != RUN_CANCELLED,
                             .export_name = text_of('e', run->export),
                             .segment_id = text_of('s', row->segment),
                             .data = strdup("{}"),
                             .ended_at = strdup("2026-11-24T08:00:47Z") };
}

void outcomes_release(struct outcomes *outcomes)
{
    for (size_t i = 0; i < outcomes->n; i++) {
        free(outcomes->items[i].export_name);
        free(outcomes->items[i].segment_id);
        free(outcomes->items[i].data);
        free(outcomes->items[i].ended_at);
    }
    free(outcomes->items);
    *outcomes = (struct outcomes){ .n = 0 };
}

bool outcomes_claim(struct db *db, const struct outcome_claim *claim, struct outcomes *claimed,
                    struct error *err)
{
    struct outcomes found = { .n = 0 };

    if (!statement_arrives(db, err))
        return false;
    for (int64_t i = 1; i <= database.n_outcomes && (int64_t)found.n < claim->max_rows; i++) {
        struct outcome_row *row = &database.outcomes[i];

        if (!row->there || row->claimed_until_ms > fiber_now_ms())
            continue;
        if (!found.items)
            found.items = calloc((size_t)claim->max_rows, sizeof *found.items);
        assert(found.items);
        row->claimed_until_ms = fiber_now_ms() + claim->claim_ms;
        found.items[found.n++] = read_outcome(i);
    }
    if (!statement_is_answered(db, err)) {
        outcomes_release(&found);
        return false;
    }
    *claimed = found;
    return true;
}

static void settle(struct outcome_row *row, enum outcome_fate fate, int64_t claim_ms)
{
    if (fate == OUTCOME_ACKNOWLEDGED)
        row->there = false;
    else
        row->claimed_until_ms = fate == OUTCOME_PENDING ? fiber_now_ms() + claim_ms : 0;
}

bool outcomes_settle(struct db *db, const struct outcome_fates *settled, int64_t claim_ms,
                     struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    for (size_t i = 0; i < settled->n; i++)
        settle(&database.outcomes[settled->ids[i]], settled->fates[i], claim_ms);
    return statement_is_answered(db, err);
}
