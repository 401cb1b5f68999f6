#include "common/log.h"
#include "worker/export/deliver_state.h"

/*
 * Batches out of batches. The rows of the parcel become new batches in the
 * outbox (or are refused), in one statement; the parcel is over.
 */

/* Which part each row goes to: 0 refused, else from 1. */
struct parts {
    const struct verdict *verdict;
    size_t halves_at; /* rows from here on go to part 2 */
    bool all_refused;
};

/* The verdict's entry for that row; NULL: it stays. Rows are ascending. */
static const struct verdict_row *refusal_of(const struct parts *parts, size_t row, size_t *next)
{
    const struct verdict *v = parts->verdict;

    while (*next < v->n_rows && v->rows[*next].row < row)
        (*next)++;
    return *next < v->n_rows && v->rows[*next].row == row ? &v->rows[*next] : NULL;
}

static const char *code_of(const struct verdict *verdict)
{
    return verdict->code[0] ? verdict->code : "refused";
}

/* How many rows go on. */
static size_t fill_split(struct outbox_split *split, const struct parts *parts,
                         const struct rows *rows, const char *body)
{
    size_t next = 0, kept = 0;

    for (size_t i = 0; i < rows->n; i++) {
        const struct verdict_row *named = refusal_of(parts, i, &next);
        bool refused = named || parts->all_refused;
        struct outbox_split_row row = { .address = rows->row[i].address,
                                        .address_len = rows->row[i].address_len,
                                        .offset = (size_t)(rows->row[i].object - body),
                                        .len = rows->row[i].len,
                                        .part = refused ? 0 : 1 + (i >= parts->halves_at) };

        if (refused) {
            row.code = named ? named->code : code_of(parts->verdict);
            row.detail = named ? named->detail : parts->verdict->detail;
        }
        outbox_split_add(split, &row);
        kept += !refused;
    }
    return kept;
}

static bool write_split(struct deliver *d, struct parcel *parcel, const struct parts *parts,
                        const struct rows *rows, struct error *err)
{
    CLEANUP(outbox_split_release) struct outbox_split split;

    outbox_split_init(&split, parcel->batch.batch_id);
    size_t kept = fill_split(&split, parts, rows, parcel->body.data);
    if (!outbox_split(d->db, d->task, &split, err))
        return false;

    log_info("batch_split", LOG_INT("run", d->task->run_id),
             LOG_INT("batch", parcel->batch.batch_id), LOG_INT("kept", kept),
             LOG_INT("refused", rows->n - kept), LOG_STR("code", code_of(parts->verdict)));
    (void)atomic_fetch_add(&d->options->control->rejected_rows, (long long)(rows->n - kept));
    if (kept < rows->n)
        deliver_progress(d);
    return true;
}

static void split(struct deliver *d, struct parcel *parcel, const struct parts *parts,
                  const struct rows *rows)
{
    struct error err = ERROR_INIT;

    if (!write_split(d, parcel, parts, rows, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    parcel->step = PARCEL_OVER;
    d->more_planned = true;
}

void split_strip(struct deliver *d, struct parcel *parcel, const struct verdict *verdict)
{
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct parts parts = { .verdict = verdict, .halves_at = SIZE_MAX };
    struct error err = ERROR_INIT;

    if (!rows_parse(&rows, parcel->body.data, parcel->body.len, &err))
        deliver_let_go(d, &err);
    else
        split(d, parcel, &parts, &rows);
}

void split_halve(struct deliver *d, struct parcel *parcel, const struct verdict *verdict)
{
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct error err = ERROR_INIT;

    if (!rows_parse(&rows, parcel->body.data, parcel->body.len, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    struct parts parts = { .verdict = verdict,
                           .halves_at = (rows.n + 1) / 2,
                           .all_refused = rows.n == 1 };
    split(d, parcel, &parts, &rows);
}
