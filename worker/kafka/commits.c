#include "worker/kafka/commits.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/array.h"

enum {
    /* Two ticks of the timer (auto.commit.interval.ms in handle_config.c, which fixes it). An
     * answer that took longer may not be the last: the timer has sent the same offset again. */
    PROMPT_MS = 400,
    /* So long those repetitions may be sent again: twice, 100 ms apart (retry.backoff.ms there). */
    SETTLE_MS = 1000,
    /* Before a beginning that was refused is committed again: a rebalance refuses it, and is over
     * by then for most groups (measured: 1 to 5 s). */
    AGAIN_MS = 5000,
};

enum on_the_way { ON_THE_WAY_NOTHING, ON_THE_WAY_BEGINNING, ON_THE_WAY_STORED };

struct part {
    int32_t partition;
    int64_t offered; /* -1: nothing yet */
    bool begins;     /* what is offered is to be committed by COMMITS_BEGIN */
    enum on_the_way on_the_way;
    int64_t sent; /* the offset last taken out; -1: none */
    int64_t sent_ms;
    int64_t not_before_ms;
};

struct commits {
    struct part *parts;
    size_t n, cap;
};

struct commits *commits_new(void)
{
    return calloc(1, sizeof(struct commits));
}

void commits_free(struct commits *commits)
{
    if (!commits)
        return;
    free(commits->parts);
    free(commits);
}

static struct part *find(const struct commits *commits, int32_t partition)
{
    for (size_t i = 0; i < commits->n; i++)
        if (commits->parts[i].partition == partition)
            return &commits->parts[i];
    return NULL;
}

bool commits_add(struct commits *commits, int32_t partition)
{
    commits_remove(commits, partition);
    struct part *parts = array_grow(commits->parts, commits->n, &commits->cap, sizeof *parts);
    if (!parts)
        return false;
    commits->parts = parts;
    parts[commits->n++] = (struct part){ .partition = partition, .offered = -1, .sent = -1 };
    return true;
}

void commits_remove(struct commits *commits, int32_t partition)
{
    struct part *part = find(commits, partition);

    if (part)
        *part = commits->parts[--commits->n];
}

bool commits_offer(struct commits *commits, int32_t partition, int64_t offset)
{
    struct part *part = find(commits, partition);

    if (part)
        part->offered = offset;
    return part;
}

/* Whether what was stored before has been sent is not known, so no answer is waited for. */
static void begin_again(struct part *part, int64_t now_ms)
{
    part->begins = true;
    if (part->on_the_way == ON_THE_WAY_STORED) {
        part->on_the_way = ON_THE_WAY_NOTHING;
        part->not_before_ms = now_ms + SETTLE_MS;
    }
}

bool commits_offer_beginning(struct commits *commits, int32_t partition, int64_t offset,
                             int64_t now_ms)
{
    struct part *part = find(commits, partition);

    if (!part)
        return false;
    part->offered = offset;
    begin_again(part, now_ms);
    return true;
}

static enum commits_step step_of(const struct part *part, int64_t now_ms)
{
    if (part->on_the_way != ON_THE_WAY_NOTHING || now_ms < part->not_before_ms)
        return COMMITS_NOTHING;
    if (part->begins)
        return COMMITS_BEGIN;
    return part->offered > part->sent ? COMMITS_STORE : COMMITS_NOTHING;
}

static void send(struct part *part, enum commits_step step, int64_t now_ms)
{
    part->on_the_way = step == COMMITS_BEGIN ? ON_THE_WAY_BEGINNING : ON_THE_WAY_STORED;
    part->sent = part->offered;
    part->sent_ms = now_ms;
    part->begins = false;
}

enum commits_step commits_next(struct commits *commits, int64_t now_ms, int32_t *partition,
                               int64_t *offset)
{
    for (size_t i = 0; i < commits->n; i++) {
        struct part *part = &commits->parts[i];
        enum commits_step step = step_of(part, now_ms);

        if (step == COMMITS_NOTHING)
            continue;
        send(part, step, now_ms);
        *partition = part->partition;
        *offset = part->sent;
        return step;
    }
    return COMMITS_NOTHING;
}

static bool is_prompt(const struct part *part, int64_t now_ms)
{
    return now_ms - part->sent_ms <= PROMPT_MS;
}

/*
 * What is on its way for long may yet be sent again, after this one. Then the
 * next owner reads a little more, and knows it by its identity.
 */
bool commits_last(struct commits *commits, int32_t partition, int64_t now_ms, int64_t *offset)
{
    struct part *part = find(commits, partition);

    if (!part || now_ms < part->not_before_ms || (!part->begins && part->offered <= part->sent))
        return false;
    if (part->on_the_way != ON_THE_WAY_NOTHING && !is_prompt(part, now_ms))
        return false;
    *offset = part->offered;
    return true;
}

static struct part *answered(const struct commits *commits, int32_t partition, int64_t offset,
                             enum on_the_way what)
{
    struct part *part = find(commits, partition);

    return part && part->on_the_way == what && part->sent == offset ? part : NULL;
}

void commits_begun(struct commits *commits, int32_t partition, int64_t offset, bool ok,
                   int64_t now_ms)
{
    struct part *part = answered(commits, partition, offset, ON_THE_WAY_BEGINNING);

    if (!part)
        return;
    part->on_the_way = ON_THE_WAY_NOTHING;
    if (ok)
        return;
    part->begins = true;
    part->not_before_ms = now_ms + AGAIN_MS;
}

/* A commit that had been forgotten was taken after the one that is known: librdkafka goes by it. */
static bool went_past(const struct part *part, int64_t offset)
{
    return part && part->sent >= 0 && offset > part->sent;
}

/* A refused one is repeated by the timer, and waited for. */
void commits_stored(struct commits *commits, int32_t partition, int64_t offset, bool ok,
                    int64_t now_ms)
{
    struct part *part = find(commits, partition);

    if (ok && went_past(part, offset)) {
        begin_again(part, now_ms);
        return;
    }
    part = answered(commits, partition, offset, ON_THE_WAY_STORED);
    if (!part || !ok)
        return;
    part->on_the_way = ON_THE_WAY_NOTHING;
    if (!is_prompt(part, now_ms))
        part->not_before_ms = now_ms + SETTLE_MS;
}
