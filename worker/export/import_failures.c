#include "worker/export/import_failures.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"

enum {
    STALE_PAGES_MAX = 10,              /* chosen: no known server repeats that many pages */
    TEXT_MAX_BYTES = 32 * 1024 * 1024, /* 10,000 rows, 3 KiB of code and detail each */
};

bool import_failures_begin(struct import_failures *failures, int64_t n_failed, size_t n_rows,
                           struct error *err)
{
    bool *named = calloc(n_rows + 1, sizeof *named);

    if (!named)
        return error_no_memory(err);
    *failures = (struct import_failures){
        .n_failed = n_failed, .n_rows = n_rows, .named = named, .text = STRBUF_INIT(TEXT_MAX_BYTES)
    };
    return true;
}

void import_failures_release(struct import_failures *failures)
{
    free(failures->named);
    free(failures->failed);
    free(failures->next);
    strbuf_release(&failures->text);
    *failures = IMPORT_FAILURES_INIT;
}

const char *import_failures_code(const struct import_failures *failures, size_t i)
{
    return failures->text.data + failures->failed[i].code_at;
}

const char *import_failures_detail(const struct import_failures *failures, size_t i)
{
    return failures->text.data + failures->failed[i].detail_at;
}

int64_t import_failures_count(const struct import_failures *failures)
{
    return (int64_t)failures->n + failures->n_unidentified;
}

/* By address first, by position second; -1: neither names a row. */
static int64_t row_of_error(const struct import_failures *failures, const struct rows *rows,
                            const struct import_error *error)
{
    int64_t row = error->email ? rows_find(rows, error->email) : -1;

    if (row < 0 && error->row >= 0 && (size_t)error->row < failures->n_rows)
        row = error->row;
    return row;
}

static bool grow_failed(struct import_failures *failures)
{
    struct failed_row *failed =
        array_grow(failures->failed, failures->n, &failures->cap, sizeof *failed);

    if (!failed)
        return false;
    failures->failed = failed;
    return true;
}

/* The text with its NUL; where it begins. */
static size_t keep_text(struct import_failures *failures, const char *text)
{
    size_t at = failures->text.len;

    strbuf_add(&failures->text, text, strlen(text) + 1);
    return at;
}

/* The first error of a row counts. False: no memory. */
static bool note_error(struct import_failures *failures, const struct rows *rows,
                       const struct import_error *error)
{
    int64_t row = row_of_error(failures, rows, error);

    if (row < 0) {
        failures->n_unmatched++;
        return true;
    }
    if (failures->named[row])
        return true;
    if (!grow_failed(failures))
        return false;
    failures->named[row] = true;
    failures->failed[failures->n++] =
        (struct failed_row){ .row = (size_t)row,
                             .code_at = keep_text(failures, error->code),
                             .detail_at = keep_text(failures, error->detail) };
    return strbuf_ok(&failures->text);
}

/* Errors that are of use: rows named, and as many unmatched as rows can be unidentified. */
static int64_t known_failures(const struct import_failures *failures)
{
    int64_t most = failures->n_failed >= 0 ? failures->n_failed : (int64_t)failures->n_rows;

    return (int64_t)failures->n + (failures->n_unmatched < most ? failures->n_unmatched : most);
}

/*
 * Is there a next page to be read? Pages may repeat rows; a server that goes in circles
 * repeats nothing else, and is given up after a while.
 */
static bool has_next_page(struct import_failures *failures, const char *next, bool news)
{
    failures->stale_pages = news ? 0 : failures->stale_pages + 1;
    if (!next || failures->stale_pages >= STALE_PAGES_MAX)
        return false;
    return news || !failures->next || strcmp(next, failures->next) != 0;
}

/* False: no memory. */
static bool turn_page(struct import_failures *failures, const char *next, bool news)
{
    char *copy = NULL;

    if (has_next_page(failures, next, news)) {
        copy = strdup(next);
        if (!copy)
            return false;
    }
    free(failures->next);
    failures->next = copy;
    return true;
}

/*
 * As many as cannot be named count as rejected. Where the job does not say how
 * many failed, its errors do.
 */
static void count_unidentified(struct import_failures *failures)
{
    int64_t named = (int64_t)failures->n;
    int64_t failed = failures->n_failed >= 0 ? failures->n_failed : named + failures->n_unmatched;
    int64_t most = (int64_t)failures->n_rows;

    if (failed > most)
        failed = most;
    failures->n_unidentified = failed > named ? failed - named : 0;
}

bool import_failures_page(struct import_failures *failures, const struct rows *rows,
                          const struct import_error_page *page, bool *more, struct error *err)
{
    int64_t before = known_failures(failures);

    for (size_t i = 0; i < page->n; i++)
        if (!note_error(failures, rows, &page->errors[i]))
            return error_no_memory(err);
    if (!turn_page(failures, page->next, known_failures(failures) > before))
        return error_no_memory(err);
    *more = failures->next != NULL;
    if (!*more)
        count_unidentified(failures);
    return true;
}
