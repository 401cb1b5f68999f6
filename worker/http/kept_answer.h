#ifndef WORKER_HTTP_KEPT_ANSWER_H
#define WORKER_HTTP_KEPT_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * An answer as it was last made, to be given again for a moment: many clients that
 * ask at once cost one answer. Of one thread; times are of clock_ms().
 */
struct kept_answer {
    struct strbuf body; /* written by the maker of the answer */
    unsigned status;
    int64_t made_ms; /* INT64_MIN: it is not to be given again */
};

/* 4 MiB: a thousand runs are some 1 MiB. */
enum { KEPT_ANSWER_MAX_BYTES = 4 * 1024 * 1024 };

/* Nothing was made yet. Release frees the body. */
void kept_answer_init(struct kept_answer *kept);
void kept_answer_release(struct kept_answer *kept);

/*
 * Made less than keep_ms ago, and after source_ms, when its data was last
 * read.
 */
bool kept_answer_is_good(const struct kept_answer *kept, int64_t keep_ms, int64_t source_ms,
                         int64_t now_ms);

/* An empty body, made now; its maker appends to it and sets the status. */
void kept_answer_begin(struct kept_answer *kept, int64_t now_ms);

/* Where the body did not fit, or found no memory: an empty one, and status 500. */
void kept_answer_finish(struct kept_answer *kept);

/* It was made for one question: nobody else gets it. */
void kept_answer_forget(struct kept_answer *kept);

#endif
