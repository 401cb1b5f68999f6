#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/broker.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"
#include "tests/simulate/trace.h"
#include "worker/kafka/record_lookup.h"

/* kafka/consumer.h: a member of the group, of one simulated process. */

enum { TOLD_MAX = 64 };

struct told {
    enum consumer_event_kind kind;
    unsigned partitions; /* a set */
    int64_t offset;
};

struct consumer {
    struct process *process;
    int fd;
    struct told told[TOLD_MAX];
    int n_told;
    struct told now; /* what the event that was handed out points to */
    bool closing, closed, is_member;
    unsigned assigned, paused, ended; /* sets of partitions */
    int64_t position[PARTITIONS], stored[PARTITIONS];
    int64_t fenced_ms;
    struct record_header headers[5];
    char id[KEY_BYTES], key[KEY_BYTES];
};

/* ---- what the broker asks and tells ---- */

bool consumer_is_heard(const struct consumer *consumer)
{
    return !consumer->process->dead && fiber_now_ms() >= consumer->process->frozen_until_ms;
}

void consumer_news(struct consumer *consumer)
{
    descriptor_raise(consumer->fd);
}

static void tell(struct consumer *consumer, struct told what)
{
    must(consumer->n_told < TOLD_MAX, "a consumer does not listen");
    consumer->told[consumer->n_told++] = what;
    consumer_news(consumer);
}

void consumer_tell(struct consumer *consumer, enum consumer_event_kind kind, unsigned partitions)
{
    for (int i = 0; i < consumer->n_told; i++)
        if (consumer->told[i].kind == kind && (consumer->told[i].partitions & partitions) &&
            kind == CONSUMER_REVOKED)
            return;
    tell(consumer, (struct told){ .kind = kind, .partitions = partitions });
}

/* Where it was to go on is no more: it begins at the first record there is. */
void consumer_tell_reset(struct consumer *consumer, int partition)
{
    tell(consumer, (struct told){ .kind = CONSUMER_RESET,
                                  .partitions = 1U << partition,
                                  .offset = consumer->position[partition] });
    consumer->position[partition] = 0;
    consumer->stored[partition] = -1;
    consumer->ended &= ~(1U << partition);
}

void consumer_tell_committed(struct consumer *consumer, int partition, int64_t offset)
{
    tell(consumer, (struct told){ CONSUMER_COMMITTED, 1U << partition, offset });
}

int64_t consumer_stored(const struct consumer *consumer, int partition)
{
    return consumer->assigned >> partition & 1 ? consumer->stored[partition] : -1;
}

/* What it was promised is void; what it has is lost. */
void consumer_is_fenced(struct consumer *consumer)
{
    consumer->n_told = 0;
    consumer->is_member = false;
    consumer->fenced_ms = fiber_now_ms();
    if (consumer->assigned)
        tell(consumer, (struct told){ .kind = CONSUMER_LOST, .partitions = consumer->assigned });
}

/* ---- joining and leaving ---- */

struct consumer *consumer_new(const struct settings *settings UNUSED, struct error *err UNUSED)
{
    struct consumer *consumer = calloc(1, sizeof *consumer);

    assert(consumer);
    consumer->process = fiber_process();
    consumer->fd = descriptor_new();
    for (int p = 0; p < PARTITIONS; p++)
        consumer->stored[p] = -1;
    return consumer;
}

void consumer_free(struct consumer *consumer)
{
    if (!consumer)
        return;
    broker_leave(consumer);
    free(consumer);
}

void consumer_retire(struct consumer *consumer)
{
    consumer_free(consumer);
}

bool consumer_check(const struct settings *settings UNUSED, struct error *err UNUSED)
{
    return true;
}

bool consumer_close(struct consumer *consumer, struct error *err UNUSED)
{
    consumer->closing = true;
    consumer_news(consumer);
    return true;
}

bool consumer_closed(struct consumer *consumer)
{
    return consumer->closed;
}

int consumer_fd(const struct consumer *consumer)
{
    return consumer->fd;
}

int64_t consumer_member_ms(const struct consumer *consumer)
{
    return consumer->is_member ? fiber_now_ms() : consumer->fenced_ms;
}

int64_t consumer_end_offset(struct consumer *consumer UNUSED, int32_t partition)
{
    return broker_partitions[partition].n;
}

/* ---- events ---- */

struct consumer_partition consumer_event_partition(const struct consumer_event *event, size_t i)
{
    const struct told *told = event->handle;

    for (int p = 0; p < PARTITIONS; p++)
        if ((told->partitions >> p & 1) && i-- == 0)
            return (struct consumer_partition){ p, told->kind == CONSUMER_COMMITTED ? told->offset
                                                                                    : -1 };
    abort();
}

static int first_of(unsigned partitions)
{
    int p = 0;

    while (!(partitions >> p & 1))
        p++;
    return p;
}

static void hand_out(struct consumer *consumer, struct consumer_event *event)
{
    consumer->now = consumer->told[0];
    memmove(consumer->told, consumer->told + 1,
            (size_t)--consumer->n_told * sizeof consumer->told[0]);
    *event = (struct consumer_event){ .kind = consumer->now.kind,
                                      .partition = first_of(consumer->now.partitions),
                                      .offset = consumer->now.offset,
                                      .handle = &consumer->now };
    for (int p = 0; p < PARTITIONS; p++)
        event->partitions_n += consumer->now.partitions >> p & 1;
}

static void read_record(struct consumer *consumer, int partition, int64_t offset,
                        struct record *out)
{
    const struct broker_record *r = &broker_partitions[partition].records[offset];
    static const struct record_header fixed[] = {
        { "ce_specversion", "1.0", 3 },
        { "ce_type", "segment.refreshed.v1", 20 },
        { "ce_source", "/segments", 9 },
        { "content-type", "application/json", 16 },
    };

    memcpy(consumer->headers, fixed, sizeof fixed);
    (void)snprintf(consumer->id, KEY_BYTES, "i%02d", r->event);
    (void)snprintf(consumer->key, KEY_BYTES, "s%02d", r->segment);
    consumer->headers[4] = (struct record_header){ "ce_id", consumer->id, 3 };
    *out = (struct record){ .topic = "segment-refresh",
                            .partition = partition,
                            .offset = offset,
                            .timestamp_ms = r->timestamp_ms,
                            .key = consumer->key,
                            .key_bytes = 3,
                            .value = r->tombstone ? NULL : r->value,
                            .value_bytes = strlen(r->value),
                            .headers = consumer->headers,
                            .headers_n = r->event ? 5 : 0 };
}

/* The next record of any partition that is not paused. */
static bool next_record(struct consumer *consumer, struct consumer_event *event)
{
    int first = (int)dice(PARTITIONS);

    for (int i = 0; i < PARTITIONS && broker_answers(); i++) {
        int p = (first + i) % PARTITIONS;

        if (!(consumer->assigned & ~consumer->paused & 1U << p))
            continue;
        if (consumer->position[p] < broker_partitions[p].n) {
            event->kind = CONSUMER_MESSAGE;
            read_record(consumer, p, consumer->position[p]++, &event->record);
            consumer->ended &= ~(1U << p);
            return true;
        }
        if (!(consumer->ended & 1U << p)) {
            consumer->ended |= 1U << p;
            *event = (struct consumer_event){ .kind = CONSUMER_END,
                                              .partition = p,
                                              .offset = consumer->position[p] };
            return true;
        }
    }
    return false;
}

/* A member that was silent, or is new, joins; one that leaves gives back what it has. */
static void follow_group(struct consumer *consumer)
{
    if (consumer->closing && consumer->assigned)
        consumer_tell(consumer, CONSUMER_REVOKED, consumer->assigned);
    else if (consumer->closing && consumer->n_told == 0) {
        broker_leave(consumer);
        consumer->closed = true;
    } else if (!consumer->is_member && !consumer->closing && consumer->n_told == 0 &&
               broker_answers()) {
        consumer->is_member = true;
        broker_join(consumer);
    }
}

void consumer_next(struct consumer *consumer, struct consumer_event *event)
{
    *event = (struct consumer_event){ .kind = CONSUMER_NONE };
    if (consumer->process->dead)
        return;
    follow_group(consumer);
    if (consumer->n_told > 0)
        hand_out(consumer, event);
    else if (!next_record(consumer, event))
        (void)descriptor_lower(consumer->fd);
}

void consumer_done(struct consumer *consumer UNUSED, struct consumer_event *event UNUSED)
{
}

/* ---- partitions ---- */

bool consumer_accept(struct consumer *consumer, const struct consumer_event *event,
                     struct error *err UNUSED)
{
    const struct told *told = event->handle;

    for (int p = 0; p < PARTITIONS; p++) {
        struct broker_partition *partition = &broker_partitions[p];

        if (!(told->partitions >> p & 1) || partition->owner != consumer)
            continue;
        partition->is_given = true;
        consumer->assigned |= 1U << p;
        consumer->ended &= ~(1U << p);
        consumer->stored[p] = -1;
        consumer->position[p] = partition->committed > 0 ? partition->committed : 0;
        if (consumer->position[p] > partition->n)
            consumer_tell_reset(consumer, p);
        if (partition->next_owner != consumer)
            consumer_tell(consumer, CONSUMER_REVOKED, 1U << p);
        trace("has partition %d from %d on", p, (int)consumer->position[p]);
    }
    return true;
}

/* Of what is revoked the stored offset goes out; of what is lost nothing does. */
bool consumer_unassign(struct consumer *consumer, const struct consumer_event *event,
                       struct error *err UNUSED)
{
    const struct told *told = event->handle;

    for (int p = 0; p < PARTITIONS; p++) {
        if (!(told->partitions >> p & 1) || !(consumer->assigned >> p & 1))
            continue;
        if (told->kind == CONSUMER_REVOKED && consumer->stored[p] >= 0)
            (void)broker_commit(consumer, p, consumer->stored[p]);
        consumer->assigned &= ~(1U << p);
        broker_give_back(consumer, p);
        trace("gives partition %d back", p);
    }
    return true;
}

bool consumer_store(struct consumer *consumer, int32_t partition, int64_t offset)
{
    if (!(consumer->assigned >> partition & 1))
        return false;
    consumer->stored[partition] = offset;
    return true;
}

bool consumer_begin(struct consumer *consumer, int32_t partition, int64_t offset)
{
    (void)broker_commit(consumer, partition, offset);
    return consumer_store(consumer, partition, offset);
}

bool consumer_pause(struct consumer *consumer, int32_t partition, struct error *err UNUSED)
{
    consumer->paused |= 1U << partition;
    return true;
}

bool consumer_resume(struct consumer *consumer, int32_t partition, struct error *err UNUSED)
{
    consumer->paused &= ~(1U << partition);
    consumer_news(consumer);
    return true;
}

/* ---- single records: kafka/record_lookup.h ---- */

struct record_lookup {
    struct consumer reader; /* only what read_record() fills */
    bool wants;
    int32_t partition;
    int64_t offset, since_ms;
    struct record record;
};

struct record_lookup *record_lookup_new(const struct settings *settings UNUSED,
                                        struct error *err UNUSED)
{
    struct record_lookup *lookup = calloc(1, sizeof *lookup);

    assert(lookup);
    lookup->reader.fd = descriptor_new();
    return lookup;
}

void record_lookup_free(struct record_lookup *lookup)
{
    free(lookup);
}

void record_lookup_retire(struct record_lookup *lookup)
{
    free(lookup);
}

int record_lookup_fd(const struct record_lookup *lookup)
{
    return lookup->reader.fd;
}

void record_lookup_want(struct record_lookup *lookup, int32_t partition, int64_t offset)
{
    if (!lookup->wants || lookup->partition != partition || lookup->offset != offset)
        lookup->since_ms = fiber_now_ms();
    lookup->wants = true;
    lookup->partition = partition;
    lookup->offset = offset;
}

void record_lookup_rest(struct record_lookup *lookup)
{
    lookup->wants = false;
}

enum record_lookup_result record_lookup_poll(struct record_lookup *lookup, int64_t now_ms,
                                             const struct record **record)
{
    if (!lookup->wants || !broker_answers() || now_ms - lookup->since_ms < 20)
        return RECORD_LOOKUP_PENDING;
    lookup->wants = false;
    if (lookup->offset >= broker_partitions[lookup->partition].n)
        return RECORD_LOOKUP_GONE;
    read_record(&lookup->reader, lookup->partition, lookup->offset, &lookup->record);
    *record = &lookup->record;
    return RECORD_LOOKUP_FOUND;
}
