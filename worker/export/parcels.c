#include <stdlib.h>

#include "common/clock.h"
#include "worker/export/deliver_state.h"

/*
 * The parcels that are on their way: from the outbox, from an earlier owner's
 * jobs, until they are over.
 */

static bool add_one(struct deliver *d, struct outbox_batch *batch)
{
    if (d->n_parcels == d->cap_parcels) {
        size_t cap = d->cap_parcels ? d->cap_parcels * 2 : 16;
        struct parcel **parcels = realloc(d->parcels, cap * sizeof(struct parcel *));
        if (!parcels)
            return false;
        d->parcels = parcels;
        d->cap_parcels = cap;
    }
    struct parcel *parcel = parcel_new(batch);
    if (!parcel)
        return false;
    d->parcels[d->n_parcels++] = parcel;
    return true;
}

static void add_all(struct deliver *d, struct outbox_batch *batches, size_t n)
{
    struct error err = ERROR_INIT;
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        ok = ok && add_one(d, &batches[i]);
    outbox_batches_free(batches, n);
    if (!ok) {
        error_no_memory(&err);
        deliver_let_go(d, &err);
    }
}

/* Jobs of an earlier owner are looked at, each for the whole time. */
void parcels_adopt_jobs(struct deliver *d)
{
    struct outbox_batch *batches;
    struct error err = ERROR_INIT;
    size_t n;

    if (!d->task->taken_over && d->task->epoch == 1)
        return;
    if (!outbox_sent(d->db, d->task, &batches, &n, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    add_all(d, batches, n);
    for (size_t i = 0; i < d->n_parcels; i++) {
        d->parcels[i]->interval_ms = d->options->settings->poll_interval_min_ms;
        d->parcels[i]->give_up_ms =
            clock_ms() + d->options->settings->retry_budget_seconds * 1000 / 2;
    }
}

static size_t count_posts(const struct deliver *d, int64_t *ids)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n_parcels; i++)
        if (d->parcels[i]->step == PARCEL_POST) {
            if (n < DELIVER_IMPORTS_MAX)
                ids[n] = d->parcels[i]->batch.batch_id;
            n++;
        }
    return n;
}

/* As many planned batches become parcels as may be in the air. */
void parcels_fetch(struct deliver *d)
{
    int64_t held[DELIVER_IMPORTS_MAX];
    struct outbox_batch *batches;
    struct error err = ERROR_INIT;
    size_t n, posts = count_posts(d, held);

    if (d->over || !d->more_planned || posts >= DELIVER_IMPORTS_MAX ||
        !plan_may_deliver(d->options->plan))
        return;
    int64_t room = DELIVER_IMPORTS_MAX - (int64_t)posts;
    struct outbox_window window = { .held = held, .n_held = posts, .max = room };
    if (!outbox_planned(d->db, d->task, &window, &batches, &n, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    d->more_planned = (int64_t)n == room;
    add_all(d, batches, n);
}

void parcels_drop_finished(struct deliver *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n_parcels; i++) {
        if (d->parcels[i]->step == PARCEL_OVER)
            parcel_free(d->parcels[i]);
        else
            d->parcels[kept++] = d->parcels[i];
    }
    d->n_parcels = kept;
}

void parcels_release(struct deliver *d)
{
    for (size_t i = 0; i < d->n_parcels; i++)
        parcel_free(d->parcels[i]);
    free(d->parcels);
}

size_t parcels_posting(const struct deliver *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n_parcels; i++)
        n += d->parcels[i]->step == PARCEL_POST && d->parcels[i]->errand.in_flight;
    return n;
}
