#include "worker/ingest/assignment.h"

#include <stdlib.h>

#include "common/array.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/strbuf.h"

enum { PARTITIONS_TEXT_BYTES = 2048 };

/* What is known of a partition besides its offsets. */
struct part {
    int32_t partition;
    int64_t committed; /* -1: not heard yet */
    int64_t reset;     /* the offset that was out of range; -1: none */
    bool paused;       /* by us */
    bool full;         /* of open events; until half have ended */
};

struct assignment {
    struct service_metrics *metrics;
    struct offsets *offsets;
    struct part *parts;
    size_t n, cap;
    size_t paused_n;
    bool full;            /* all partitions together */
    int32_t *left_paused; /* partitions that were paused when they were taken away */
    size_t left_n, left_cap;
};

struct assignment *assignment_new(struct service_metrics *metrics)
{
    struct assignment *assignment = calloc(1, sizeof *assignment);

    if (!assignment)
        return NULL;
    assignment->metrics = metrics;
    assignment->offsets = offsets_new();
    if (!assignment->offsets) {
        assignment_free(assignment);
        return NULL;
    }
    return assignment;
}

void assignment_free(struct assignment *assignment)
{
    if (!assignment)
        return;
    offsets_free(assignment->offsets);
    free(assignment->parts);
    free(assignment->left_paused);
    free(assignment);
}

static struct part *find(const struct assignment *assignment, int32_t partition)
{
    for (size_t i = 0; i < assignment->n; i++)
        if (assignment->parts[i].partition == partition)
            return &assignment->parts[i];
    return NULL;
}

static void set_paused(struct assignment *assignment, struct part *part, bool paused)
{
    if (part->paused == paused)
        return;
    part->paused = paused;
    assignment->paused_n += paused ? 1 : -(size_t)1;
    assignment->metrics->partitions_paused = (long long)assignment->paused_n;
}

static void note_left_paused(struct assignment *assignment, int32_t partition)
{
    assignment->left_paused =
        memory_needed(array_grow(assignment->left_paused, assignment->left_n, &assignment->left_cap,
                                 sizeof *assignment->left_paused));
    assignment->left_paused[assignment->left_n++] = partition;
}

/* True: it was paused when it was taken away, and is still. */
static bool take_left_paused(struct assignment *assignment, int32_t partition)
{
    for (size_t i = 0; i < assignment->left_n; i++)
        if (assignment->left_paused[i] == partition) {
            assignment->left_paused[i] = assignment->left_paused[--assignment->left_n];
            return true;
        }
    return false;
}

static void forget(struct assignment *assignment, int32_t partition)
{
    struct part *part = find(assignment, partition);

    if (!part)
        return;
    if (part->paused)
        note_left_paused(assignment, partition);
    set_paused(assignment, part, false);
    *part = assignment->parts[--assignment->n];
}

static bool add(struct assignment *assignment, int32_t partition)
{
    forget(assignment, partition);
    struct part *parts =
        array_grow(assignment->parts, assignment->n, &assignment->cap, sizeof *parts);
    if (!parts)
        return false;
    assignment->parts = parts;
    struct part *part = &assignment->parts[assignment->n++];
    *part = (struct part){ .partition = partition, .committed = -1, .reset = -1 };
    set_paused(assignment, part, take_left_paused(assignment, partition));
    return offsets_assign(assignment->offsets, partition);
}

bool assignment_add(struct assignment *assignment, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partitions_n; i++)
        if (!add(assignment, consumer_event_partition(event, i).partition))
            return false;
    return true;
}

int64_t assignment_remove(struct assignment *assignment, int32_t partition)
{
    forget(assignment, partition);
    return offsets_revoke(assignment->offsets, partition);
}

bool assignment_take_any(struct assignment *assignment, int32_t *partition, int64_t *epoch)
{
    assignment->left_n = 0;
    if (assignment->n == 0)
        return false;
    *partition = assignment->parts[0].partition;
    *epoch = assignment_remove(assignment, *partition);
    return true;
}

enum offsets_delivery assignment_deliver(struct assignment *assignment, int32_t partition,
                                         int64_t offset, int64_t *epoch)
{
    return offsets_deliver(assignment->offsets, partition, offset, epoch);
}

void assignment_end(struct assignment *assignment, int32_t partition, int64_t epoch, int64_t offset)
{
    /* False is ordinary: the partition has another owner, or starts over. */
    (void)offsets_end(assignment->offsets, partition, epoch, offset);
}

void assignment_reached(struct assignment *assignment, int32_t partition, int64_t offset)
{
    offsets_reached(assignment->offsets, partition, offset);
}

void assignment_note_reset(struct assignment *assignment, int32_t partition, int64_t offset)
{
    struct part *part = find(assignment, partition);

    if (part)
        part->reset = offset;
}

bool assignment_take_gap(struct assignment *assignment, int32_t partition, int64_t offset,
                         int64_t *from)
{
    struct part *part = find(assignment, partition);

    if (!part || part->reset < 0)
        return false;
    *from = part->reset;
    part->reset = -1;
    return offset > *from; /* else the topic was created again */
}

void assignment_committed(struct assignment *assignment, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partitions_n; i++) {
        struct consumer_partition committed = consumer_event_partition(event, i);
        struct part *part = find(assignment, committed.partition);

        if (part && committed.offset >= 0)
            part->committed = committed.offset;
    }
}

void assignment_store(struct assignment *assignment, struct consumer *consumer)
{
    struct offsets_move move;

    while (offsets_take_move(assignment->offsets, &move)) {
        bool ours = move.first ? consumer_begin(consumer, move.partition, move.watermark)
                               : consumer_store(consumer, move.partition, move.watermark);

        if (!ours) /* an ordinary outcome around a rebalance */
            log_debug("offset_not_stored", LOG_INT("partition", move.partition),
                      LOG_INT("offset", move.watermark));
    }
}

void assignment_pause(struct assignment *assignment, struct consumer *consumer, int32_t partition)
{
    struct part *part = find(assignment, partition);
    struct error err = ERROR_INIT;

    if (!part || part->paused)
        return;
    if (!consumer_pause(consumer, partition, &err)) {
        log_debug("partition_not_paused", LOG_INT("partition", partition), LOG_ERROR_OF(&err));
        return;
    }
    set_paused(assignment, part, true);
    assignment->metrics->pauses++;
}

bool assignment_is_open(const struct assignment *assignment, int32_t partition, int64_t epoch,
                        int64_t offset)
{
    return offsets_is_open(assignment->offsets, partition, epoch, offset);
}

/* Once there are max of them, until half have ended. */
static bool is_full(bool was_full, size_t open, size_t max)
{
    return open >= max || (was_full && open > max / 2);
}

static void judge_fullness(struct assignment *assignment, struct part *part)
{
    assignment->full =
        is_full(assignment->full, offsets_n_open(assignment->offsets), ASSIGNMENT_OPEN_MAX);
    part->full = is_full(part->full, offsets_n_open_of(assignment->offsets, part->partition),
                         ASSIGNMENT_PARTITION_OPEN_MAX);
}

bool assignment_is_full(struct assignment *assignment, int32_t partition)
{
    struct part *part = find(assignment, partition);

    if (!part)
        return false;
    judge_fullness(assignment, part);
    return part->full || assignment->full;
}

void assignment_resume(struct assignment *assignment, struct consumer *consumer)
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < assignment->n && assignment->paused_n > 0; i++) {
        struct part *part = &assignment->parts[i];

        if (!part->paused)
            continue;
        judge_fullness(assignment, part);
        if (part->full || assignment->full)
            continue;
        if (!consumer_resume(consumer, part->partition, &err)) {
            log_warn("partition_not_resumed", LOG_INT("partition", part->partition),
                     LOG_ERROR_OF(&err));
            continue;
        }
        set_paused(assignment, part, false);
        assignment->metrics->resumes++;
    }
}

void assignment_publish(const struct assignment *assignment, struct consumer *consumer,
                        struct service_metrics *metrics)
{
    struct offsets_view view;
    size_t n = 0;

    metrics->partitions_assigned = (long long)assignment->n;
    if (!metrics->subscribed)
        return; /* what was heard last is the best there is */
    (void)pthread_mutex_lock(&metrics->lock);
    while (n < SERVICE_METRICS_PARTITIONS && offsets_look(assignment->offsets, n, &view)) {
        const struct part *part = find(assignment, view.partition);
        metrics->partitions[n++] = (struct service_partition){
            .partition = view.partition,
            .watermark = view.watermark,
            .committed = part ? part->committed : -1,
            .end = consumer_end_offset(consumer, view.partition),
            .open = (int64_t)view.open,
        };
    }
    metrics->partitions_n = n;
    (void)pthread_mutex_unlock(&metrics->lock);
}

void assignment_log(const char *name, const struct consumer_event *event)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(PARTITIONS_TEXT_BYTES);

    for (size_t i = 0; i < event->partitions_n; i++)
        strbuf_addf(&text, "%s%d", i > 0 ? "," : "",
                    (int)consumer_event_partition(event, i).partition);
    log_info(name, LOG_INT("count", event->partitions_n), LOG_STR("partitions", text.data));
}
