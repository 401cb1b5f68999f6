#ifndef WORKER_HTTP_LIST_FILTER_H
#define WORKER_HTTP_LIST_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * The filter of a listing of the API: limit, export, state. If the snapshot has what is
 * asked for, it is picked from there, so that the request costs the database nothing.
 */
enum { LIST_FILTER_TEXT_BYTES = 1024, LIST_FILTER_LIMIT_MAX = 1000 };

struct list_filter {
    char limit[LIST_FILTER_TEXT_BYTES]; /* as asked; empty: not */
    char export_name[LIST_FILTER_TEXT_BYTES];
    char state[LIST_FILTER_TEXT_BYTES];
};

/* True: nothing is asked for, so the whole list is the answer. */
bool list_filter_is_empty(const struct list_filter *filter);

enum list_filter_of { LIST_FILTER_OF_RUNS, LIST_FILTER_OF_EXPORTS };

/*
 * What is wrong with a filter of such a list, as a sentence that lives as long as the program:
 * limit is no whole number from 1 to LIST_FILTER_LIMIT_MAX, or there is no such state. NULL: it is
 * good.
 */
const char *list_filter_problem(const struct list_filter *filter, enum list_filter_of list);

/* True: only the newest `n` runs are of use for the answer. */
bool list_filter_is_within(const struct list_filter *filter, int64_t n);

/* How many are asked for at most; otherwise: the default. Of a good filter. */
int64_t list_filter_limit(const struct list_filter *filter, int64_t otherwise);

/* Whether two ask for the same, in the same words. */
bool list_filter_is_same(const struct list_filter *filter, const struct list_filter *other);

/*
 * list: a JSON array of objects, of which `name_member` has the export's name.
 * Appends the array of those that are asked for, at most `otherwise` where no limit is; false:
 * out of memory.
 */
bool list_filter_apply(const struct list_filter *filter, const char *name_member, int64_t otherwise,
                       const char *list, struct strbuf *out) MUST_USE;

#endif
