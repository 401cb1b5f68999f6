#include "worker/kafka/reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"

struct reader {
    rd_kafka_t *handle;
    rd_kafka_topic_partition_list_t *ends; /* where each partition ended when we began */
    size_t open;                           /* partitions not read to that end yet */
    bool *done;                            /* by index of ends */
    rd_kafka_message_t *lent;
    struct kafka_handle_headers headers;
    struct record record;
    int timeout_ms;
};

/* Partitions of the topic; their number only. */
static bool count_partitions(struct reader *reader, const char *topic, int *n, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(reader->handle, topic, NULL);
    if (!handle)
        return kafka_failure(err, reader->handle, rd_kafka_last_error(), topic);

    rd_kafka_resp_err_t code =
        rd_kafka_metadata(reader->handle, 0, handle, &metadata, reader->timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (code)
        return kafka_failure(err, reader->handle, code, "Kafka did not answer");

    rd_kafka_resp_err_t refusal = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (metadata->topic_cnt == 1) {
        refusal = metadata->topics[0].err;
        *n = metadata->topics[0].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    return refusal ? kafka_failure(err, reader->handle, refusal, topic) : true;
}

/* Partitions that hold something are assigned from their beginning, up to the end they have now. */
static bool find_ends(struct reader *reader, const char *topic, int partitions, struct error *err)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *begins = rd_kafka_topic_partition_list_new(partitions);

    for (int32_t p = 0; p < partitions; p++) {
        int64_t begin, end;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            reader->handle, topic, p, &begin, &end, reader->timeout_ms);
        if (code)
            return kafka_failure(err, reader->handle, code, topic);
        if (begin == end)
            continue;
        rd_kafka_topic_partition_list_add(begins, topic, p)->offset = begin;
        rd_kafka_topic_partition_list_add(reader->ends, topic, p)->offset = end;
    }
    reader->open = (size_t)reader->ends->cnt;
    rd_kafka_resp_err_t code = rd_kafka_assign(reader->handle, begins);
    return code ? kafka_failure(err, reader->handle, code, topic) : true;
}

static bool open_reader(struct reader *reader, const struct settings *settings, const char *topic,
                        struct error *err)
{
    int partitions = 0;

    reader->handle = kafka_handle_new(settings, HANDLE_READER, NULL, err);
    if (!reader->handle)
        return false;
    (void)rd_kafka_poll_set_consumer(reader->handle);
    if (!count_partitions(reader, topic, &partitions, err))
        return false;
    reader->ends = rd_kafka_topic_partition_list_new(partitions);
    reader->done = calloc((size_t)partitions + 1, sizeof *reader->done);
    if (!reader->done)
        return error_no_memory(err);
    return find_ends(reader, topic, partitions, err);
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

void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    give_back(reader);
    (void)kafka_handle_free(reader->handle);
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

/* One that was written after we began belongs to no reader's answer. */
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
                     kafka_handle_read_message(message, &reader->headers, &reader->record);

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
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->handle, 100);
        rd_kafka_resp_err_t code = message ? message->err : RD_KAFKA_RESP_ERR__TIMED_OUT;

        if (message && keep(reader, message)) {
            *record = &reader->record;
            return READER_RECORD;
        }
        bool goes_on = !code || code == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
                       (kafka_failure_passes(code) && clock_ms() < until_ms);
        if (!goes_on) {
            (void)kafka_failure(err, reader->handle, code, "reading the topic");
            return READER_ERROR;
        }
    }
    return READER_END;
}
