#ifndef WORKER_EXPORT_IMPORT_SET_H
#define WORKER_EXPORT_IMPORT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/batch_import.h"

/*
 * The imports of a delivery: every batch of the run that is on its way, and the jobs of
 * earlier runs that are waited for (pure). In the order in which they came. Owns them;
 * zeroes are an empty set.
 */
struct import_set {
    struct batch_import **import;
    size_t n, cap;
};

/* Frees the imports; the set is empty then. */
void import_set_release(struct import_set *set);

/*
 * Takes the batches, also where it fails; those with a job begin with its poll, whose time
 * begins with import_set_watch(). ERROR_RETRY: out of memory.
 */
bool import_set_take_batches(struct import_set *set, struct outbox_batches *batches,
                             struct error *err) MUST_USE;

/* Takes the jobs, also where it fails; each is polled at once. ERROR_RETRY: out of memory. */
bool import_set_take_late_jobs(struct import_set *set, struct late_jobs *jobs,
                               const struct import_context *context, struct error *err) MUST_USE;

/* All of them have jobs: each is polled at once, as it may have ended meanwhile. */
void import_set_watch(struct import_set *set, const struct import_context *context);

/* Frees those that are over. */
void import_set_drop_over(struct import_set *set);

/* Lent until it is dropped. The batch is in the set. */
struct batch_import *import_set_find(const struct import_set *set, int64_t batch_id);

/* A job is that of one batch. */
bool import_set_has_job(const struct import_set *set, const char *job_id);

/* Imports whose response is not there yet. */
size_t import_set_posting(const struct import_set *set);

/* Jobs of earlier runs that are waited for. */
size_t import_set_late_jobs(const struct import_set *set);

/* The import's body fits into memory with the others; one alone fits whatever its size. */
bool import_set_has_room_for(const struct import_set *set, const struct batch_import *import);

#endif
