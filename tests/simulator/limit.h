#ifndef SIMULATOR_LIMIT_H
#define SIMULATOR_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * A limit: so many requests in each of several fixed windows.
 *
 * A window of w seconds begins at every multiple of w after the account's
 * phase. A request is taken when every window has room, and is then counted in
 * all of them; a refused one is counted in none. Pure: the time is a parameter
 * (microseconds since 1970).
 */
enum { LIMIT_WINDOWS = 3 };

struct limit {
    struct {
        uint32_t requests;
        uint32_t seconds;
    } window[LIMIT_WINDOWS]; /* shortest first; 0 seconds: not used */
};

/* How much of a limit is used up. All zero at first. */
struct limit_use {
    struct {
        int64_t number; /* which window this count is of */
        uint32_t count;
    } window[LIMIT_WINDOWS];
};

/* Whether there is room now; nothing is counted. */
bool limit_has_room(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                    int64_t now_us) MUST_USE;

void limit_count(const struct limit *limit, struct limit_use *use, int64_t phase_us,
                 int64_t now_us);

/* Whole seconds until every window that is full now has ended; at least 1. */
unsigned limit_wait_s(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                      int64_t now_us);

/* What is left of the shortest window, and whole seconds until it ends. */
unsigned limit_remaining(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                         int64_t now_us);
unsigned limit_reset_s(const struct limit *limit, int64_t phase_us, int64_t now_us);

/* The ratelimit-limit header: "10, 10;w=1, 150;w=60". */
void limit_describe(const struct limit *limit, struct strbuf *out);

#endif
