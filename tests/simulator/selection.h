#ifndef SIMULATOR_SELECTION_H
#define SIMULATOR_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "tests/simulator/call.h"
#include "tests/simulator/filter.h"
#include "tests/simulator/page.h"

/*
 * A selection: one page of profiles out of an account, a list or a job, in
 * order of (key, number). The key is 0 or, sorted by joining, that time.
 */
enum { SELECTION_MAX = 100 };

enum order { ORDER_NUMBER, ORDER_JOINED, ORDER_JOINED_DOWN };

struct selection {
    struct account *account;
    const struct list *list; /* only its members; NULL: anyone */
    const struct filter *filter;
    enum order order;
    struct page page;
    struct {
        int64_t key;
        uint32_t number;
    } found[SELECTION_MAX + 1];
    size_t n;  /* at most page.size */
    bool more; /* there are others behind these */
};

/* Looks at everyone whom the filter does not exclude by name. */
void selection_pick(struct selection *selection);

/* Looks at these numbers only; PROFILE_NONE and repeats are passed over. */
void selection_pick_among(struct selection *selection, const uint32_t *numbers, size_t n);

/*
 * Answers 200 with the page: whole resources, or only type and id. The filter
 * must have been checked.
 */
void selection_answer(struct selection *selection, struct call *call, bool ids_only);

/*
 * Reads page[…], and filter into *filter (to be released by the caller), whose
 * names must be among email, id, external_id, phone_number or, for a list,
 * joined_group_at. False: the answer is a 400.
 */
bool selection_parse(struct selection *selection, struct call *call, struct filter *filter)
    MUST_USE;

#endif
