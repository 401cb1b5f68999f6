#include "worker/klaviyo/refusal.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "worker/klaviyo/document.h"
#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/problem.h"

/*
 * What is noted from the errors of one response. text takes the words of all
 * rows: a JSON string is never longer decoded than in the document, quotes
 * included, so a buffer of the body's size cannot overflow.
 */
struct reading {
    struct verdict *verdict;
    size_t request_rows;
    size_t cap;       /* of verdict->rows */
    size_t text_used; /* of verdict->text */
    size_t n_unnamed; /* errors that point at no row */
    bool no_memory;
};

/*
 * Any other text than small letters may hold anything (an address, a value, the
 * key), and this copy is for logs, details and headers.
 */
static void copy_code(char *out, const char *code)
{
    size_t n = code ? strspn(code, "abcdefghijklmnopqrstuvwxyz_") : 0;
    bool is_code = code && code[n] == '\0' && n < VERDICT_CODE_BYTES;

    document_copy(out, VERDICT_CODE_BYTES, is_code || !code ? code : "other");
}

static void note_first(struct verdict *verdict, const struct problem *problem)
{
    copy_code(verdict->code, problem->code);
    document_copy(verdict->detail, sizeof verdict->detail, problem->detail);
}

static bool grow_rows(struct reading *reading)
{
    struct verdict *verdict = reading->verdict;

    struct verdict_row *rows =
        array_grow(verdict->rows, verdict->n_rows, &reading->cap, sizeof *rows);

    if (!rows) {
        reading->no_memory = true;
        return false;
    }
    verdict->rows = rows;
    return true;
}

static const char *keep_text(struct reading *reading, const char *text)
{
    char *kept = reading->verdict->text + reading->text_used;

    document_copy(kept, VERDICT_DETAIL_BYTES, text);
    reading->text_used += strlen(kept) + 1;
    return kept;
}

static bool note_row(struct reading *reading, size_t row, const struct problem *problem)
{
    struct verdict *verdict = reading->verdict;

    if (!grow_rows(reading))
        return false;
    verdict->rows[verdict->n_rows++] = (struct verdict_row){
        .row = row,
        .code = keep_text(reading, problem->code),
        .detail = keep_text(reading, problem->detail),
    };
    return true;
}

static bool note_problem(void *to, const struct problem *problem)
{
    struct reading *reading = to;
    int64_t row = problem->pointer ? import_error_row(problem->pointer) : -1;
    bool names_row = row >= 0 && (uint64_t)row < reading->request_rows;
    bool is_first = reading->verdict->n_rows + reading->n_unnamed == 0;

    /* An error that names no row explains more than one that does. */
    if (is_first || (!names_row && reading->n_unnamed == 0))
        note_first(reading->verdict, problem);
    if (names_row)
        return note_row(reading, (size_t)row, problem);
    reading->n_unnamed++;
    return true;
}

/* Errors of one row stay in the order in which they came: later text lies further up. */
static int compare_rows(const void *a, const void *b)
{
    const struct verdict_row *x = a, *y = b;

    if (x->row != y->row)
        return x->row > y->row ? 1 : -1;
    return (x->detail > y->detail) - (x->detail < y->detail);
}

static void sort_rows(struct verdict *verdict)
{
    size_t n = 0;

    if (verdict->n_rows == 0)
        return;
    qsort(verdict->rows, verdict->n_rows, sizeof *verdict->rows, compare_rows);
    for (size_t i = 0; i < verdict->n_rows; i++)
        if (i == 0 || verdict->rows[i].row != verdict->rows[n - 1].row)
            verdict->rows[n++] = verdict->rows[i];
    verdict->n_rows = n;
}

static bool is_html(const struct response *response)
{
    return response->content_type && strcasestr(response->content_type, "html");
}

/* What was noted of a response that turns out not to be whole is void. */
static void forget(struct verdict *verdict)
{
    verdict->n_rows = 0;
    verdict->code[0] = '\0';
    verdict->detail[0] = '\0';
    document_copy(verdict->why, sizeof verdict->why, "its body is not the JSON of Klaviyo's API");
}

bool refusal_read(const struct response *response, size_t request_rows, struct verdict *verdict,
                  struct refusal *out, struct error *err)
{
    struct reading reading = { .verdict = verdict, .request_rows = request_rows };

    verdict->text = malloc(response->body_bytes + 1);
    if (!verdict->text)
        return error_no_memory(err);

    bool is_json = !is_html(response) && problem_each(response, note_problem, &reading);
    if (reading.no_memory)
        return error_no_memory(err);
    if (is_json)
        sort_rows(verdict);
    else
        forget(verdict);
    *out = (struct refusal){
        .is_json = is_json,
        .names_only_rows = reading.n_unnamed == 0 && verdict->n_rows > 0,
    };
    return true;
}
