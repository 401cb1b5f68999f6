#include "worker/ingest/offsets.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"

struct tracked {
    int32_t partition;
    int64_t epoch;
    int64_t next;  /* what is delivered next is not below it; -1: nothing known yet */
    int64_t taken; /* the watermark that was taken last; -1: none */
    int64_t *open; /* ascending; those from begin to end - 1 */
    size_t begin, end, cap;
};

struct offsets {
    struct tracked *items; /* ascending by partition */
    size_t n, cap;
    int64_t last_epoch;
    size_t open_n;
    size_t search_from; /* where the search for a move continues, so that each gets its turn */
};

struct offsets *offsets_new(void)
{
    return calloc(1, sizeof(struct offsets));
}

void offsets_free(struct offsets *offsets)
{
    if (!offsets)
        return;
    for (size_t i = 0; i < offsets->n; i++)
        free(offsets->items[i].open);
    free(offsets->items);
    free(offsets);
}

/* Index of the first item whose partition is not below. */
static size_t place_of(const struct offsets *offsets, int32_t partition)
{
    size_t low = 0;
    size_t high = offsets->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (offsets->items[middle].partition < partition)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct tracked *find(const struct offsets *offsets, int32_t partition)
{
    size_t at = place_of(offsets, partition);

    if (at < offsets->n && offsets->items[at].partition == partition)
        return &offsets->items[at];
    return NULL;
}

static size_t open_n(const struct tracked *tracked)
{
    return tracked->end - tracked->begin;
}

static void begin_epoch(struct offsets *offsets, struct tracked *tracked)
{
    offsets->open_n -= open_n(tracked);
    tracked->begin = tracked->end = 0;
    tracked->epoch = ++offsets->last_epoch;
    tracked->next = -1;
    tracked->taken = -1;
}

bool offsets_assign(struct offsets *offsets, int32_t partition)
{
    size_t at = place_of(offsets, partition);

    if (at == offsets->n || offsets->items[at].partition != partition) {
        struct tracked *items =
            array_grow(offsets->items, offsets->n, &offsets->cap, sizeof *items);
        if (!items)
            return false;
        offsets->items = items;
        memmove(&offsets->items[at + 1], &offsets->items[at],
                (offsets->n - at) * sizeof *offsets->items);
        offsets->items[at] = (struct tracked){ .partition = partition };
        offsets->n++;
    }
    begin_epoch(offsets, &offsets->items[at]);
    return true;
}

int64_t offsets_revoke(struct offsets *offsets, int32_t partition)
{
    struct tracked *tracked = find(offsets, partition);
    if (!tracked)
        return -1;

    size_t at = (size_t)(tracked - offsets->items);
    int64_t epoch = tracked->epoch;
    offsets->open_n -= open_n(tracked);
    free(tracked->open);
    offsets->n--;
    memmove(tracked, tracked + 1, (offsets->n - at) * sizeof *tracked);
    return epoch;
}

/* Index of the first open offset that is not below. */
static size_t place_of_open(const struct tracked *tracked, int64_t offset)
{
    size_t low = tracked->begin;
    size_t high = tracked->end;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tracked->open[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Makes room for one more open offset: what ended at the front is given up first. */
static bool make_room(struct tracked *tracked)
{
    if (tracked->end < tracked->cap)
        return true;
    if (tracked->begin > tracked->cap / 2) {
        size_t n = open_n(tracked);
        memmove(tracked->open, &tracked->open[tracked->begin], n * sizeof *tracked->open);
        tracked->begin = 0;
        tracked->end = n;
        return true;
    }

    int64_t *open = array_grow(tracked->open, tracked->end, &tracked->cap, sizeof *open);
    if (!open)
        return false;
    tracked->open = open;
    return true;
}

enum offsets_delivery offsets_deliver(struct offsets *offsets, int32_t partition, int64_t offset,
                                      int64_t *epoch)
{
    struct tracked *tracked = find(offsets, partition);
    enum offsets_delivery delivery = OFFSETS_OPENED;

    assert(offset >= 0);
    if (!tracked)
        return OFFSETS_NOT_OURS;
    if (!make_room(tracked))
        return OFFSETS_NO_MEMORY;
    if (offset < tracked->next) {
        begin_epoch(offsets, tracked);
        delivery = OFFSETS_REWOUND;
    }
    tracked->open[tracked->end++] = offset; /* above all others: at least next */
    tracked->next = offset + 1;
    offsets->open_n++;
    *epoch = tracked->epoch;
    return delivery;
}

bool offsets_is_open(const struct offsets *offsets, int32_t partition, int64_t epoch,
                     int64_t offset)
{
    const struct tracked *tracked = find(offsets, partition);

    if (!tracked || tracked->epoch != epoch)
        return false;
    size_t at = place_of_open(tracked, offset);
    return at < tracked->end && tracked->open[at] == offset;
}

bool offsets_end(struct offsets *offsets, int32_t partition, int64_t epoch, int64_t offset)
{
    if (!offsets_is_open(offsets, partition, epoch, offset))
        return false;

    struct tracked *tracked = find(offsets, partition);
    size_t at = place_of_open(tracked, offset);
    offsets->open_n--;
    if (at == tracked->begin)
        tracked->begin++;
    else
        memmove(&tracked->open[at], &tracked->open[at + 1],
                (--tracked->end - at) * sizeof *tracked->open);
    return true;
}

void offsets_reached(struct offsets *offsets, int32_t partition, int64_t offset)
{
    struct tracked *tracked = find(offsets, partition);

    if (tracked && offset > tracked->next)
        tracked->next = offset;
}

static int64_t watermark_of(const struct tracked *tracked)
{
    return open_n(tracked) > 0 ? tracked->open[tracked->begin] : tracked->next;
}

static bool take(struct tracked *tracked, struct offsets_move *move)
{
    int64_t watermark = watermark_of(tracked);

    if (watermark <= tracked->taken)
        return false;
    *move = (struct offsets_move){
        .partition = tracked->partition,
        .watermark = watermark,
        .first = tracked->taken < 0,
    };
    tracked->taken = watermark;
    return true;
}

bool offsets_take_move(struct offsets *offsets, struct offsets_move *move)
{
    for (size_t i = 0; i < offsets->n; i++) {
        size_t at = (offsets->search_from + i) % offsets->n;
        if (take(&offsets->items[at], move)) {
            offsets->search_from = at + 1;
            return true;
        }
    }
    return false;
}

size_t offsets_n_open(const struct offsets *offsets)
{
    return offsets->open_n;
}

size_t offsets_n_open_of(const struct offsets *offsets, int32_t partition)
{
    const struct tracked *tracked = find(offsets, partition);

    return tracked ? open_n(tracked) : 0;
}

bool offsets_look(const struct offsets *offsets, size_t i, struct offsets_view *view)
{
    if (i >= offsets->n)
        return false;
    *view = (struct offsets_view){
        .partition = offsets->items[i].partition,
        .watermark = watermark_of(&offsets->items[i]),
        .open = open_n(&offsets->items[i]),
    };
    return true;
}
