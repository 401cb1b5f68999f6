#ifndef COMMON_LINE_QUEUE_H
#define COMMON_LINE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/*
 * Lines that wait to be written: first in, first out, in a ring buffer that
 * never grows. One thread at a time.
 */
struct line_queue {
    char *bytes; /* NULL: not initialised */
    size_t cap;
    size_t start;
    size_t used;
};

/* False: out of memory. */
bool line_queue_init(struct line_queue *queue, size_t cap) MUST_USE;
void line_queue_release(struct line_queue *queue);

/* False: fewer than `spare` bytes would stay free behind it; nothing was added. */
bool line_queue_put(struct line_queue *queue, const char *line, size_t n, size_t spare) MUST_USE;

/* Moves the oldest line into `line`, which has room for the longest; 0: there is none. */
size_t line_queue_get(struct line_queue *queue, char *line, size_t size);

#endif
