#ifndef WORKER_EXPORT_BATCH_SPLIT_H
#define WORKER_EXPORT_BATCH_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/klaviyo/verdict.h"

/*
 * Batches out of batches (pure): of a batch that Klaviyo refused, which rows go into
 * which part, and which are refused, with what words.
 *
 *     strip   the rows that the verdict names are refused, the rest is one part
 *     halve   two parts; a row that is alone is refused with the verdict's words
 */
struct batch_split {
    struct verdict verdict;
    size_t n_rows;
    size_t halves_at; /* rows from here on go to part 2 */
    bool all_refused;
};

#define BATCH_SPLIT_INIT ((struct batch_split){ .verdict = VERDICT_INIT })

struct batch_split_row {
    int part;           /* 1 or 2; 0: refused */
    const char *code;   /* of a refused row, lent by the split; else NULL */
    const char *detail; /* of a refused row, lent by the split; else NULL */
};

/* Both take what the verdict owns; n_rows: of the batch. */
void batch_split_strip(struct batch_split *split, struct verdict *verdict, size_t n_rows);
void batch_split_halve(struct batch_split *split, struct verdict *verdict, size_t n_rows);
void batch_split_release(struct batch_split *split);

/* *next begins at 0; rows are asked for in ascending order. */
struct batch_split_row batch_split_row(const struct batch_split *split, size_t row, size_t *next);

/* Rows that are not refused. */
size_t batch_split_kept(const struct batch_split *split);

/* Of the refusal as a whole, never empty. */
const char *batch_split_code(const struct batch_split *split);

#endif
