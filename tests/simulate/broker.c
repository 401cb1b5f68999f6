#include "tests/simulate/broker.h"

#include <stdio.h>
#include <string.h>

#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/people.h"
#include "tests/simulate/trace.h"

enum {
    MEMBERS_MAX = 16,
    SESSION_MS = 1500,
    TICK_MS = 200,
    COMMIT_EVERY = 5, /* ticks */
    LETTERS_MAX = 512,
    OUTCOMES_SENT_MAX = 2048,
};

struct member {
    struct consumer *consumer;
    int64_t heard_ms;
};

struct outcome_sent {
    int64_t run, epoch;
    int segment;
};

struct broker_partition broker_partitions[PARTITIONS];

static struct {
    struct member members[MEMBERS_MAX];
    int n_members;
    bool unbalanced, stopped;
    int64_t away_until_ms;
    struct {
        int32_t partition;
        int64_t offset;
    } letters[LETTERS_MAX];
    int n_letters;
    struct outcome_sent outcomes[OUTCOMES_SENT_MAX];
    int n_outcomes;
} broker;

void broker_begin(void)
{
    memset(&broker, 0, sizeof broker);
    memset(broker_partitions, 0, sizeof broker_partitions);
    for (int p = 0; p < PARTITIONS; p++)
        broker_partitions[p].committed = -1;
}

void broker_stop(void)
{
    broker.stopped = true;
}

bool broker_answers(void)
{
    return fiber_now_ms() >= broker.away_until_ms;
}

void broker_is_away(int64_t ms)
{
    trace("the broker is away for %d ms", (int)ms);
    broker.away_until_ms = fiber_now_ms() + ms;
}

/* ---- records ---- */

struct broker_record *broker_append(int partition)
{
    struct broker_partition *p = &broker_partitions[partition];

    if (p->n == RECORDS_MAX)
        return NULL;
    p->records[p->n] = (struct broker_record){ .timestamp_ms = fiber_now_ms() };
    return &p->records[p->n++];
}

void broker_published(void)
{
    for (int i = 0; i < broker.n_members; i++)
        consumer_news(broker.members[i].consumer);
}

static struct broker_record *find(int32_t partition, int64_t offset, int64_t timestamp_ms)
{
    struct broker_partition *p = &broker_partitions[partition];

    return offset < p->n && p->records[offset].timestamp_ms == timestamp_ms ? &p->records[offset]
                                                                            : NULL;
}

void broker_note_end(int32_t partition, int64_t offset, int64_t timestamp_ms)
{
    struct broker_record *record = find(partition, offset, timestamp_ms);

    if (record)
        record->ended = true;
}

static bool has_ended(int partition, int64_t offset)
{
    const struct broker_record *record = &broker_partitions[partition].records[offset];

    return record->ended || record->tombstone ||
           database_has_ended(partition, offset, record->timestamp_ms);
}

/* Offsets begin again; whoever reads finds that out. */
void broker_make_topic_again(void)
{
    trace("the topic is deleted and made again");
    for (int p = 0; p < PARTITIONS; p++) {
        struct broker_partition *partition = &broker_partitions[p];

        partition->n = 0;
        partition->committed = -1;
        if (partition->owner && partition->is_given)
            consumer_tell_reset(partition->owner, p);
    }
}

bool broker_is_done(void)
{
    for (int p = 0; p < PARTITIONS; p++)
        for (int64_t offset = 0; offset < broker_partitions[p].n; offset++)
            if (!has_ended(p, offset) || broker_partitions[p].committed <= offset)
                return false;
    return true;
}

/* ---- the group ---- */

static int number_of(const struct consumer *consumer)
{
    for (int i = 0; i < broker.n_members; i++)
        if (broker.members[i].consumer == consumer)
            return i;
    return -1;
}

void broker_join(struct consumer *consumer)
{
    if (number_of(consumer) >= 0)
        return;
    must(broker.n_members < MEMBERS_MAX, "the simulation has no room for another member");
    broker.members[broker.n_members++] = (struct member){ consumer, fiber_now_ms() };
    broker.unbalanced = true;
    trace("joins the group");
}

static void free_partitions(const struct consumer *consumer)
{
    for (int p = 0; p < PARTITIONS; p++) {
        if (broker_partitions[p].owner == consumer)
            broker_partitions[p].owner = NULL;
        if (broker_partitions[p].next_owner == consumer)
            broker_partitions[p].next_owner = NULL;
    }
}

void broker_leave(struct consumer *consumer)
{
    int number = number_of(consumer);

    if (number < 0)
        return;
    broker.members[number] = broker.members[--broker.n_members];
    free_partitions(consumer);
    broker.unbalanced = true;
}

void broker_give_back(struct consumer *consumer, int partition)
{
    if (broker_partitions[partition].owner == consumer)
        broker_partitions[partition].owner = NULL;
}

void broker_rebalance(void)
{
    broker.unbalanced = true;
}

/* The first promise: nothing that is open lies below what is committed. */
bool broker_commit(const struct consumer *consumer, int partition, int64_t offset)
{
    struct broker_partition *p = &broker_partitions[partition];

    if (p->owner != consumer || !broker_answers() || offset < 0)
        return false;
    for (int64_t i = 0; i < offset && i < p->n; i++)
        must(has_ended(partition, i), "partition %d is committed at %d, and %d is open", partition,
             (int)offset, (int)i);
    if (p->committed != offset)
        trace("partition %d is committed at %d", partition, (int)offset);
    p->committed = offset;
    return true;
}

/* ---- what the group does by itself ---- */

static void hear_members(void)
{
    for (int i = broker.n_members - 1; i >= 0; i--) {
        struct member *member = &broker.members[i];
        struct consumer *consumer = member->consumer;

        if (consumer_is_heard(consumer))
            member->heard_ms = fiber_now_ms();
        if (fiber_now_ms() - member->heard_ms < SESSION_MS)
            continue;
        trace("a member is silent: the group goes on without it");
        broker_leave(consumer);
        consumer_is_fenced(consumer);
    }
}

static void balance(void)
{
    if (!broker.unbalanced)
        return;
    broker.unbalanced = false;
    for (int p = 0; p < PARTITIONS; p++) {
        struct broker_partition *partition = &broker_partitions[p];

        if (broker.n_members == 0)
            continue;
        partition->next_owner = broker.members[dice(broker.n_members)].consumer;
        if (partition->owner && partition->is_given && partition->owner != partition->next_owner)
            consumer_tell(partition->owner, CONSUMER_REVOKED, 1U << p);
    }
}

static void give_partitions(void)
{
    for (int p = 0; p < PARTITIONS; p++) {
        struct broker_partition *partition = &broker_partitions[p];

        if (partition->owner || !partition->next_owner)
            continue;
        partition->owner = partition->next_owner;
        partition->is_given = false;
        consumer_tell(partition->owner, CONSUMER_ASSIGNED, 1U << p);
    }
}

static void commit_stored(void)
{
    for (int p = 0; p < PARTITIONS; p++) {
        struct broker_partition *partition = &broker_partitions[p];
        int64_t stored = partition->owner ? consumer_stored(partition->owner, p) : -1;

        if (stored >= 0 && stored != partition->committed && consumer_is_heard(partition->owner) &&
            broker_commit(partition->owner, p, stored))
            consumer_tell_committed(partition->owner, p, stored);
    }
}

void *broker_run(void *unused)
{
    for (int tick = 0; !broker.stopped; tick++) {
        fiber_sleep(TICK_MS);
        if (!broker_answers())
            continue;
        hear_members();
        balance();
        give_partitions();
        broker_published();
        if (tick % COMMIT_EVERY == 0)
            commit_stored();
    }
    return unused;
}

/* ---- what is written ---- */

static int64_t header_number(const struct record *record, const char *name)
{
    const struct record_header *header = record_header_find(record, name);
    int64_t number = 0;

    for (size_t i = 0; header && i < header->value_bytes; i++)
        number = number * 10 + ((const char *)header->value)[i] - '0';
    return header ? number : -1;
}

/* "RUN-EPOCH" */
static void note_outcome(const struct record *record)
{
    const struct record_header *id = record_header_find(record, "ce_id");
    struct outcome_sent sent = { .segment = person_number((const char *)record->key + 1) };
    int64_t *number = &sent.run;

    must(id && broker.n_outcomes < OUTCOMES_SENT_MAX, "an outcome without an id, or too many");
    for (size_t i = 0; id && i < id->value_bytes; i++) {
        char c = ((const char *)id->value)[i];

        if (c == '-')
            number = &sent.epoch;
        else
            *number = *number * 10 + c - '0';
    }
    broker.outcomes[broker.n_outcomes++] = sent;
}

void broker_write(const char *topic, const struct record *record)
{
    if (strcmp(topic, "segment-export") == 0) {
        note_outcome(record);
        return;
    }
    must(broker.n_letters < LETTERS_MAX, "the simulation has no room for another letter");
    broker.letters[broker.n_letters].partition =
        (int32_t)header_number(record, "__connect.errors.partition");
    broker.letters[broker.n_letters].offset = header_number(record, "__connect.errors.offset");
    broker.n_letters++;
}

bool broker_has_letter(int32_t partition, int64_t offset)
{
    for (int i = 0; i < broker.n_letters; i++)
        if (broker.letters[i].partition == partition && broker.letters[i].offset == offset)
            return true;
    return false;
}

bool broker_has_outcome(int64_t run, int64_t epoch, int segment)
{
    for (int i = 0; i < broker.n_outcomes; i++)
        if (broker.outcomes[i].run == run && broker.outcomes[i].epoch == epoch &&
            broker.outcomes[i].segment == segment)
            return true;
    return false;
}
