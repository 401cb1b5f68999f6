#include "worker/kafka/record_lookup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/wakeup.h"
#include "worker/kafka/handle.h"
#include "worker/kafka/message.h"

enum {
    READ_ON_MAX = 1000,    /* records: up to this many are skipped by reading on */
    SILENT_MS = 10 * 1000, /* nothing came for so long: is there such a partition? */
    ASK_AGAIN_MS = 10 * 1000,
    ASK_WAIT_MS = 100,      /* as long as the control thread may wait */
    UNKNOWN_MS = 20 * 1000, /* it is gone then; starting brokers do not know it either */
    END_MS = 30 * 1000,     /* chosen: a leader that has just become one knows the end by then */
    MESSAGES_A_POLL = 500,  /* the control thread has other things to do */
    NOTHING_WANTED = -1,
};

/*
 * The end of the partition is reported once, and possibly before the wanted record
 * was written. So an end before it is looked for once more, much later.
 */
enum end_of_partition {
    END_AHEAD,
    END_MET,
    END_ASKED_AGAIN,
};

struct record_lookup {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    int fd;
    char *topic;
    int32_t partition;
    int64_t wanted;     /* NOTHING_WANTED, or an offset */
    int64_t wanted_ms;  /* since when it is looked for; 0: since the next poll */
    int64_t position;   /* the next offset that comes; -1: nothing is assigned */
    int64_t unknown_ms; /* since when Kafka knows no such partition; 0: it may know it */
    int64_t asked_ms;   /* when it was asked last */
    enum end_of_partition end;
    int64_t end_ms; /* when it was met */
    rd_kafka_message_t *lent;
    struct message_headers headers;
    struct record record;
};

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    (void)handle;
    (void)opaque;
    log_debug("kafka_lookup_error", LOG_STR("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)),
              LOG_STR("reason", reason));
}

static bool open_handle(struct record_lookup *lookup, const struct settings *settings,
                        struct error *err)
{
    const struct kafka_handle_callbacks callbacks = { .opaque = lookup, .error = on_error };

    lookup->topic = strdup(settings->kafka_topic);
    if (!lookup->topic)
        return error_no_memory(err);
    lookup->fd = wakeup_open(err);
    if (lookup->fd < 0)
        return false;
    lookup->handle = kafka_handle_new(settings, HANDLE_LOOKUP, &callbacks, err);
    if (!lookup->handle)
        return false;
    (void)rd_kafka_poll_set_consumer(lookup->handle);
    lookup->queue = rd_kafka_queue_get_consumer(lookup->handle);
    kafka_handle_watch(lookup->queue, lookup->fd);
    return true;
}

struct record_lookup *record_lookup_new(const struct settings *settings, struct error *err)
{
    struct record_lookup *lookup = calloc(1, sizeof *lookup);

    if (!lookup) {
        (void)error_no_memory(err);
        return NULL;
    }
    lookup->fd = -1;
    lookup->wanted = NOTHING_WANTED;
    lookup->position = -1;
    if (!open_handle(lookup, settings, err)) {
        record_lookup_free(lookup);
        return NULL;
    }
    return lookup;
}

static void give_back(struct record_lookup *lookup)
{
    if (lookup->lent)
        rd_kafka_message_destroy(lookup->lent);
    lookup->lent = NULL;
}

static void free_lookup(struct record_lookup *lookup, bool wait)
{
    if (!lookup)
        return;
    give_back(lookup);
    if (lookup->queue) {
        rd_kafka_queue_io_event_enable(lookup->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(lookup->queue);
    }
    if (wait)
        (void)kafka_handle_free(lookup->handle);
    else
        kafka_handle_retire(lookup->handle);
    if (lookup->fd >= 0)
        (void)close(lookup->fd);
    free(lookup->headers.items);
    free(lookup->topic);
    free(lookup);
}

void record_lookup_free(struct record_lookup *lookup)
{
    free_lookup(lookup, true);
}

void record_lookup_retire(struct record_lookup *lookup)
{
    free_lookup(lookup, false);
}

int record_lookup_fd(const struct record_lookup *lookup)
{
    return lookup->fd;
}

static void assign_wanted(struct record_lookup *lookup)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, lookup->topic, lookup->partition)->offset =
        lookup->wanted;
    (void)rd_kafka_assign(lookup->handle, list); /* what becomes of it comes as a message */
    lookup->position = lookup->wanted;
    lookup->end = END_AHEAD;
}

void record_lookup_want(struct record_lookup *lookup, int32_t partition, int64_t offset)
{
    bool reads_on = lookup->position >= 0 && lookup->partition == partition &&
                    offset >= lookup->position && offset - lookup->position <= READ_ON_MAX;

    if (lookup->partition != partition)
        lookup->unknown_ms = lookup->asked_ms = 0;
    lookup->partition = partition;
    lookup->wanted = offset;
    lookup->wanted_ms = 0;
    if (!reads_on)
        assign_wanted(lookup);
    else if (lookup->end == END_ASKED_AGAIN)
        lookup->end = END_MET; /* this record may have come since */
}

void record_lookup_rest(struct record_lookup *lookup)
{
    lookup->wanted = NOTHING_WANTED;
    lookup->unknown_ms = lookup->asked_ms = 0;
    if (lookup->position < 0)
        return;
    (void)rd_kafka_assign(lookup->handle, NULL);
    lookup->position = -1;
    lookup->end = END_AHEAD;
}

static enum record_lookup_result gone(struct record_lookup *lookup)
{
    record_lookup_rest(lookup);
    return RECORD_LOOKUP_GONE;
}

/* The next record will be at that offset. */
static enum record_lookup_result note_end(struct record_lookup *lookup, int64_t offset,
                                          int64_t now_ms)
{
    bool sure = lookup->end == END_ASKED_AGAIN || offset > lookup->wanted;

    if (lookup->end == END_AHEAD) {
        lookup->end = END_MET;
        lookup->end_ms = now_ms;
    }
    lookup->position = offset;
    if (!sure || lookup->wanted == NOTHING_WANTED)
        return RECORD_LOOKUP_PENDING;
    lookup->wanted = NOTHING_WANTED;
    return RECORD_LOOKUP_GONE;
}

/* The end was below the wanted record for long: the topic is another, or the end is stale. */
static void ask_again_for_end(struct record_lookup *lookup, int64_t now_ms)
{
    if (lookup->end != END_MET || lookup->wanted == NOTHING_WANTED ||
        now_ms - lookup->end_ms < END_MS)
        return;
    assign_wanted(lookup);
    lookup->end = END_ASKED_AGAIN;
}

/* What comes instead of a message; other errors librdkafka tries again by itself. */
static enum record_lookup_result note_error(struct record_lookup *lookup, rd_kafka_resp_err_t code)
{
    /* Out of range: deleted. */
    return code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ? gone(lookup) : RECORD_LOOKUP_PENDING;
}

/* ---- a topic that is gone, or was created again with fewer partitions ---- */

static bool is_known(const struct record_lookup *lookup, const struct rd_kafka_metadata *metadata)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];

        if (strcmp(topic->topic, lookup->topic) == 0)
            return topic->err == RD_KAFKA_RESP_ERR_NO_ERROR
                       ? lookup->partition < topic->partition_cnt
                       : topic->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    }
    return true;
}

/* librdkafka tells it to no message, and only when it first hears of the topic. */
static void ask_for_partition(struct record_lookup *lookup, int64_t now_ms)
{
    const struct rd_kafka_metadata *metadata = NULL;

    lookup->asked_ms = now_ms;
    if (rd_kafka_metadata(lookup->handle, 0, NULL, &metadata, ASK_WAIT_MS) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    if (is_known(lookup, metadata))
        lookup->unknown_ms = 0;
    else if (lookup->unknown_ms == 0)
        lookup->unknown_ms = now_ms;
    rd_kafka_metadata_destroy(metadata);
}

/* It stays assigned: what is wanted of it next is known to be gone, too. */
static enum record_lookup_result judge_silence(struct record_lookup *lookup, int64_t now_ms)
{
    if (lookup->wanted == NOTHING_WANTED)
        return RECORD_LOOKUP_PENDING;
    if (lookup->wanted_ms == 0)
        lookup->wanted_ms = now_ms;
    if (lookup->unknown_ms == 0 && now_ms - lookup->wanted_ms < SILENT_MS)
        return RECORD_LOOKUP_PENDING;
    if (now_ms - lookup->asked_ms >= ASK_AGAIN_MS)
        ask_for_partition(lookup, now_ms);
    if (lookup->unknown_ms == 0 || now_ms - lookup->unknown_ms < UNKNOWN_MS)
        return RECORD_LOOKUP_PENDING;
    lookup->wanted = NOTHING_WANTED;
    return RECORD_LOOKUP_GONE;
}

static enum record_lookup_result
take_record(struct record_lookup *lookup, rd_kafka_message_t *message, const struct record **record)
{
    lookup->lent = message;
    lookup->wanted = NOTHING_WANTED;
    if (!message_read(message, &lookup->headers, &lookup->record))
        memory_exhausted();
    *record = &lookup->record;
    return RECORD_LOOKUP_FOUND;
}

/* Takes the message over. */
static enum record_lookup_result take_message(struct record_lookup *lookup,
                                              rd_kafka_message_t *message, int64_t now_ms,
                                              const struct record **record)
{
    bool others = message->partition != lookup->partition; /* of an earlier assignment */
    bool wanted = lookup->wanted != NOTHING_WANTED;
    enum record_lookup_result result = RECORD_LOOKUP_PENDING;

    if (!others && (!message->err || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF))
        lookup->unknown_ms = 0;
    if (!others && !message->err) {
        lookup->position = message->offset + 1;
        lookup->end = END_AHEAD;
    }
    if (!others && message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        result = note_end(lookup, message->offset, now_ms);
    else if (!others && wanted && message->err)
        result = note_error(lookup, message->err);
    else if (!others && wanted && message->offset == lookup->wanted)
        return take_record(lookup, message, record);
    else if (!others && wanted && message->offset > lookup->wanted)
        result = gone(lookup);
    rd_kafka_message_destroy(message);
    return result;
}

enum record_lookup_result record_lookup_poll(struct record_lookup *lookup, int64_t now_ms,
                                             const struct record **record)
{
    enum record_lookup_result result = RECORD_LOOKUP_PENDING;

    give_back(lookup);
    (void)wakeup_clear(lookup->fd);
    for (int i = 0; i < MESSAGES_A_POLL && result == RECORD_LOOKUP_PENDING; i++) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(lookup->handle, 0);
        if (!message)
            break;
        result = take_message(lookup, message, now_ms, record);
    }
    if (result != RECORD_LOOKUP_PENDING)
        return result;
    ask_again_for_end(lookup, now_ms);
    return judge_silence(lookup, now_ms);
}
