#include "common/line_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A line is stored in the ring buffer as its length, then its bytes; both may wrap around the end.
 */

bool line_queue_init(struct line_queue *queue, size_t cap)
{
    char *bytes = malloc(cap);

    if (!bytes)
        return false;
    *queue = (struct line_queue){ .bytes = bytes, .cap = cap };
    return true;
}

void line_queue_release(struct line_queue *queue)
{
    free(queue->bytes);
    *queue = (struct line_queue){ .bytes = NULL };
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void append(struct line_queue *queue, const void *from, size_t n)
{
    size_t at = (queue->start + queue->used) % queue->cap;
    size_t first = smaller(n, queue->cap - at);

    memcpy(queue->bytes + at, from, first);
    memcpy(queue->bytes, (const char *)from + first, n - first);
    queue->used += n;
}

static void remove_first(struct line_queue *queue, void *to, size_t n)
{
    size_t first = smaller(n, queue->cap - queue->start);

    memcpy(to, queue->bytes + queue->start, first);
    memcpy((char *)to + first, queue->bytes, n - first);
    queue->start = (queue->start + n) % queue->cap;
    queue->used -= n;
}

bool line_queue_put(struct line_queue *queue, const char *line, size_t n, size_t spare)
{
    size_t left = queue->cap - queue->used;

    if (left < sizeof n || left - sizeof n < n || left - sizeof n - n < spare)
        return false;
    append(queue, &n, sizeof n);
    append(queue, line, n);
    return true;
}

size_t line_queue_get(struct line_queue *queue, char *line, size_t size)
{
    size_t n;

    if (queue->used == 0)
        return 0;
    remove_first(queue, &n, sizeof n);
    assert(n <= size);
    remove_first(queue, line, n);
    return n;
}
