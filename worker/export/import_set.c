#include "worker/export/import_set.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"

enum {
    BODIES_MAX_BYTES = 15 * 1000 * 1000, /* three of Klaviyo's largest: 64 MiB a run in all */
};

void import_set_release(struct import_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        batch_import_free(set->import[i]);
    free(set->import);
    *set = (struct import_set){ .import = NULL };
}

/* Takes the import; NULL is out of memory, too. */
static bool add(struct import_set *set, struct batch_import *import)
{
    if (!import)
        return false;
    struct batch_import **imports =
        array_grow(set->import, set->n, &set->cap, sizeof(struct batch_import *));
    if (!imports) {
        batch_import_free(import);
        return false;
    }
    set->import = imports;
    set->import[set->n++] = import;
    return true;
}

bool import_set_take_batches(struct import_set *set, struct outbox_batches *batches,
                             struct error *err)
{
    bool ok = true;

    for (size_t i = 0; i < batches->n; i++)
        ok = ok && add(set, batch_import_new(&batches->items[i]));
    outbox_batches_release(batches);
    return ok || error_no_memory(err);
}

/* At once, whatever pause a poll begins with. */
static void poll_now(struct batch_import *import, const struct import_context *context)
{
    batch_import_watch(import, context);
    import->request.due_ms = context->now_ms;
}

bool import_set_take_late_jobs(struct import_set *set, struct late_jobs *jobs,
                               const struct import_context *context, struct error *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < jobs->n; i++) {
        ok = add(set, batch_import_of_late_job(&jobs->items[i]));
        if (ok)
            poll_now(set->import[set->n - 1], context);
    }
    late_jobs_release(jobs);
    return ok || error_no_memory(err);
}

void import_set_watch(struct import_set *set, const struct import_context *context)
{
    for (size_t i = 0; i < set->n; i++)
        poll_now(set->import[i], context);
}

void import_set_drop_over(struct import_set *set)
{
    size_t kept = 0;

    for (size_t i = 0; i < set->n; i++) {
        if (set->import[i]->step == IMPORT_OVER)
            batch_import_free(set->import[i]);
        else
            set->import[kept++] = set->import[i];
    }
    set->n = kept;
}

struct batch_import *import_set_find(const struct import_set *set, int64_t batch_id)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->import[i]->batch.batch_id == batch_id)
            return set->import[i];
    assert(false && "an effect concerns a batch that is on its way");
    abort();
}

bool import_set_has_job(const struct import_set *set, const char *job_id)
{
    for (size_t i = 0; i < set->n; i++) {
        const char *job = set->import[i]->batch.job_id;

        if (job && strcmp(job, job_id) == 0)
            return true;
    }
    return false;
}

size_t import_set_posting(const struct import_set *set)
{
    size_t n = 0;

    for (size_t i = 0; i < set->n; i++)
        n += set->import[i]->step == IMPORT_POST && set->import[i]->request.in_flight;
    return n;
}

size_t import_set_late_jobs(const struct import_set *set)
{
    size_t n = 0;

    for (size_t i = 0; i < set->n; i++)
        n += set->import[i]->late_job_id != 0;
    return n;
}

static int64_t bytes_loaded(const struct import_set *set)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < set->n; i++)
        if (set->import[i]->loaded)
            bytes += set->import[i]->batch.bytes;
    return bytes;
}

bool import_set_has_room_for(const struct import_set *set, const struct batch_import *import)
{
    int64_t loaded = bytes_loaded(set);

    return import->loaded || loaded == 0 || loaded + import->batch.bytes <= BODIES_MAX_BYTES;
}
