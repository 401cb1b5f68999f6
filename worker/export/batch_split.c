#include "worker/export/batch_split.h"

static void begin_split(struct batch_split *split, struct verdict *verdict, size_t n_rows)
{
    *split = (struct batch_split){ .verdict = *verdict, .n_rows = n_rows, .halves_at = n_rows };
    *verdict = VERDICT_INIT;
}

void batch_split_strip(struct batch_split *split, struct verdict *verdict, size_t n_rows)
{
    begin_split(split, verdict, n_rows);
}

void batch_split_halve(struct batch_split *split, struct verdict *verdict, size_t n_rows)
{
    begin_split(split, verdict, n_rows);
    split->halves_at = (n_rows + 1) / 2;
    split->all_refused = n_rows == 1;
}

void batch_split_release(struct batch_split *split)
{
    verdict_release(&split->verdict);
    *split = BATCH_SPLIT_INIT;
}

/* The verdict's entry for that row; NULL: it stays. Rows are ascending. */
static const struct verdict_row *refusal_of_row(const struct verdict *verdict, size_t row,
                                                size_t *next)
{
    while (*next < verdict->n_rows && verdict->rows[*next].row < row)
        (*next)++;
    if (*next < verdict->n_rows && verdict->rows[*next].row == row)
        return &verdict->rows[*next];
    return NULL;
}

const char *batch_split_code(const struct batch_split *split)
{
    return split->verdict.code[0] ? split->verdict.code : "refused";
}

struct batch_split_row batch_split_row(const struct batch_split *split, size_t row, size_t *next)
{
    const struct verdict_row *named = refusal_of_row(&split->verdict, row, next);

    if (named)
        return (struct batch_split_row){ .code = named->code, .detail = named->detail };
    if (split->all_refused)
        return (struct batch_split_row){ .code = batch_split_code(split),
                                         .detail = split->verdict.detail };
    return (struct batch_split_row){ .part = 1 + (row >= split->halves_at) };
}

size_t batch_split_kept(const struct batch_split *split)
{
    size_t next = 0, kept = 0;

    for (size_t row = 0; row < split->n_rows; row++)
        kept += batch_split_row(split, row, &next).part > 0;
    return kept;
}
