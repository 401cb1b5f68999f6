#ifndef WORKER_EXPORT_IMPORT_FAILURES_H
#define WORKER_EXPORT_IMPORT_FAILURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/rows.h"
#include "worker/klaviyo/import_errors.h"

/*
 * Import failures: what the pages of a job's errors say about the rows of its
 * batch (pure).
 *
 *     page ──► each error: by address, else by position ──► the row is named once
 *                          neither ──► unmatched
 *     last page ──► the job counted more than are named ──► unidentified rows
 *
 * Pages may repeat themselves. A server that goes in circles is left after some
 * pages without news.
 */
struct failed_row {
    size_t row;                /* position in the batch */
    size_t code_at, detail_at; /* in text */
};

struct import_failures {
    int64_t n_failed; /* as import_job.failed of the ended job */
    size_t n_rows;    /* of the batch */
    bool *named;      /* one per row */
    struct failed_row *failed;
    size_t n, cap;
    struct strbuf text;
    int64_t n_unmatched;    /* errors that name no row of the batch */
    int64_t n_unidentified; /* rows that failed, nobody knows which: after the last page */
    char *next;             /* link to the next page; NULL: first, or none */
    int stale_pages;        /* in a row, without news */
};

#define IMPORT_FAILURES_INIT ((struct import_failures){ .n_failed = -1 })

/* n_failed: as above. Both: ERROR_RETRY: out of memory. */
bool import_failures_begin(struct import_failures *failures, int64_t n_failed, size_t n_rows,
                           struct error *err) MUST_USE;

/* One page. *more: there is another one to be read, failures->next leads to it. */
bool import_failures_page(struct import_failures *failures, const struct rows *rows,
                          const struct import_error_page *page, bool *more, struct error *err)
    MUST_USE;

/* Of failed[i], i < n; NUL-terminated, lent until the next page or release. */
const char *import_failures_code(const struct import_failures *failures, size_t i);
const char *import_failures_detail(const struct import_failures *failures, size_t i);

/* Named or not. */
int64_t import_failures_count(const struct import_failures *failures);

/* Frees all of it. Accepts IMPORT_FAILURES_INIT. */
void import_failures_release(struct import_failures *failures);

#endif
