#include "worker/kafka/reader.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"
#include "worker/kafka/message.h"

struct reader {
    rd_kafka_t *handle;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue; /* where all partitions' messages arrive */
    struct kafka_last_error last_error;
    const char *right;                     /* what a user needs to read this topic */
    rd_kafka_topic_partition_list_t *ends; /* where each partition ended when we began */
    int started;                           /* partitions of ends, from the first, that are read */
    size_t open;                           /* partitions not read to that end yet */
    bool *done;                            /* by index of ends */
    rd_kafka_message_t *lent;
    struct message_headers headers;
    struct record record;
    int timeout_ms;
};

static bool failed(struct reader *reader, rd_kafka_resp_err_t code, const char *what,
                   struct error *err)
{
    rd_kafka_resp_err_t cause = kafka_last_error_cause(&reader->last_error, reader->handle, code);

    return kafka_failure_right(err, reader->handle, cause, what, reader->right);
}

/* Partitions of the topic; their number only. */
static bool count_partitions(struct reader *reader, const char *name, int *n, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(reader->handle, 0, reader->topic, &metadata, reader->timeout_ms);
    if (code)
        return failed(reader, code, "Kafka did not answer", err);

    rd_kafka_resp_err_t refusal = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (metadata->topic_cnt == 1) {
        refusal = metadata->topics[0].err;
        *n = metadata->topics[0].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    return refusal ? failed(reader, refusal, name, err) : true;
}

/* From its beginning, which `ends` holds for now, up to its present end. */
static bool start_partition(struct reader *reader, const char *name, int32_t partition,
                            struct error *err)
{
    int64_t begin, end;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(reader->handle, name, partition,
                                                                &begin, &end, reader->timeout_ms);
    if (code)
        return failed(reader, code, name, err);
    if (begin == end)
        return true;
    rd_kafka_topic_partition_list_add(reader->ends, name, partition)->offset = end;
    if (rd_kafka_consume_start_queue(reader->topic, partition, begin, reader->queue) != 0)
        return failed(reader, rd_kafka_last_error(), name, err);
    reader->started++;
    reader->open++;
    return true;
}

static bool start_all(struct reader *reader, const char *name, int partitions, struct error *err)
{
    reader->ends = rd_kafka_topic_partition_list_new(partitions);
    reader->done = calloc((size_t)partitions + 1, sizeof *reader->done);
    if (!reader->done)
        return error_no_memory(err);
    for (int32_t p = 0; p < partitions; p++)
        if (!start_partition(reader, name, p, err))
            return false;
    return true;
}

/*
 * By librdkafka's consumer of single partitions: the one that assigns asks for the
 * coordinator of a group, and so needs a right to one.
 */
static bool open_reader(struct reader *reader, const struct settings *settings, const char *name,
                        struct error *err)
{
    const struct kafka_handle_callbacks callbacks = { .opaque = &reader->last_error,
                                                      .error = kafka_last_error_note };
    int partitions = 0;

    reader->right = strcmp(name, settings->kafka_dead_letter_topic) == 0
                        ? "Describe and Read on KAFKA_DEAD_LETTER_TOPIC"
                        : "Describe and Read on KAFKA_TOPIC";
    reader->handle = kafka_handle_new(settings, HANDLE_READER, &callbacks, err);
    if (!reader->handle)
        return false;
    reader->queue = rd_kafka_queue_new(reader->handle);
    reader->topic = rd_kafka_topic_new(reader->handle, name, NULL);
    if (!reader->topic)
        return failed(reader, rd_kafka_last_error(), name, err);
    return count_partitions(reader, name, &partitions, err) &&
           start_all(reader, name, partitions, err);
}

struct reader *reader_new(const struct settings *settings, const char *topic, int timeout_ms,
                          struct error *err)
{
    struct reader *reader = calloc(1, sizeof *reader);

    if (!reader) {
        (void)error_no_memory(err);
        return NULL;
    }
    reader->timeout_ms = timeout_ms;
    if (!open_reader(reader, settings, topic, err)) {
        reader_free(reader);
        return NULL;
    }
    return reader;
}

static void give_back(struct reader *reader)
{
    if (reader->lent)
        rd_kafka_message_destroy(reader->lent);
    reader->lent = NULL;
}

/* librdkafka wants each of its objects back before the handle. */
static void close_reader(struct reader *reader)
{
    for (int i = 0; i < reader->started; i++)
        (void)rd_kafka_consume_stop(reader->topic, reader->ends->elems[i].partition);
    if (reader->topic)
        rd_kafka_topic_destroy(reader->topic);
    if (reader->queue)
        rd_kafka_queue_destroy(reader->queue);
    (void)kafka_handle_free(reader->handle);
}

void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    give_back(reader);
    close_reader(reader);
    if (reader->ends)
        rd_kafka_topic_partition_list_destroy(reader->ends);
    free(reader->done);
    free(reader->headers.items);
    free(reader);
}

/* Notes that everything below offset has been read there. */
static void note_progress(struct reader *reader, int32_t partition, int64_t offset)
{
    for (int i = 0; i < reader->ends->cnt; i++) {
        const rd_kafka_topic_partition_t *end = &reader->ends->elems[i];
        if (end->partition != partition || reader->done[i] || offset < end->offset)
            continue;
        reader->done[i] = true;
        reader->open--;
    }
}

/* A record that was written after we began is not part of the answer. */
static bool is_within(const struct reader *reader, const rd_kafka_message_t *message)
{
    for (int i = 0; i < reader->ends->cnt; i++)
        if (reader->ends->elems[i].partition == message->partition)
            return message->offset < reader->ends->elems[i].offset;
    return false;
}

/* Keeps the message where it is a record of ours; true then. */
static bool keep(struct reader *reader, rd_kafka_message_t *message)
{
    bool is_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    bool is_record = !message->err && is_within(reader, message) &&
                     message_read(message, &reader->headers, &reader->record);

    if (is_end || !message->err)
        note_progress(reader, message->partition, message->offset + !is_end);
    if (is_record)
        reader->lent = message;
    else
        rd_kafka_message_destroy(message);
    return is_record;
}

enum reader_next reader_next(struct reader *reader, const struct record **record, struct error *err)
{
    int64_t until_ms = clock_ms() + reader->timeout_ms;

    give_back(reader);
    while (reader->open > 0) {
        (void)rd_kafka_poll(reader->handle, 0); /* serves the callback of errors */
        rd_kafka_message_t *message = rd_kafka_consume_queue(reader->queue, 100);
        rd_kafka_resp_err_t code = message ? message->err : RD_KAFKA_RESP_ERR__TIMED_OUT;

        if (message && keep(reader, message)) {
            *record = &reader->record;
            return READER_RECORD;
        }
        bool goes_on = !code || code == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                       (kafka_failure_passes(code) && clock_ms() < until_ms);
        if (!goes_on) {
            (void)failed(reader, code, "reading the topic", err);
            return READER_ERROR;
        }
    }
    return READER_END;
}
