#include "worker/kafka/topics.h"

#include <assert.h>

#include "common/log.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"

/* What the handle's errors said last, so that "timed out" can say more. */
struct look {
    rd_kafka_t *handle;
    rd_kafka_resp_err_t last_error;
};

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    struct look *look = opaque;

    (void)handle;
    (void)reason;
    /* All brokers being down is what the first reason comes to. */
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !look->last_error)
        look->last_error = code;
}

static bool look_open(struct look *look, const struct settings *settings, struct error *err)
{
    const struct kafka_handle_callbacks callbacks = { .opaque = look, .error = on_error };

    look->handle = kafka_handle_new(settings, HANDLE_READER, &callbacks, err);
    return look->handle != NULL;
}

static void look_close(struct look *look)
{
    (void)kafka_handle_free(look->handle);
}

static bool look_failed(const struct look *look, rd_kafka_resp_err_t code, struct error *err)
{
    bool vague = kafka_failure_passes(code) && look->last_error;

    (void)kafka_failure(err, look->handle, vague ? look->last_error : code, "Kafka did not answer");
    if (kafka_failure_passes(code))
        err->kind = ERROR_RETRY;
    return false;
}

static void read_status(const rd_kafka_metadata_topic_t *found, struct topic_status *topic)
{
    topic->partitions = found->err ? 0 : found->partition_cnt;
    topic->state = TOPIC_PRESENT;
    if (found->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        topic->state = TOPIC_REFUSED;
    else if (found->err && found->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        topic->state = TOPIC_MISSING;
}

static const rd_kafka_metadata_broker_t *broker_of(const struct rd_kafka_metadata *metadata,
                                                   int32_t id)
{
    for (int i = 0; i < metadata->broker_cnt; i++)
        if (metadata->brokers[i].id == id)
            return &metadata->brokers[i];
    return NULL;
}

/* Was the leader of partition n asked for an earlier one? */
static bool is_asked(const rd_kafka_metadata_topic_t *found, int n)
{
    for (int i = 0; i < n; i++)
        if (found->partitions[i].leader == found->partitions[n].leader)
            return true;
    return false;
}

/* The client library's code is _BAD_MSG where a name does not resolve; its error says more. */
static void leader_failed(struct look *look, rd_kafka_resp_err_t code,
                          const rd_kafka_metadata_broker_t *broker, struct topic_status *topic)
{
    (void)rd_kafka_poll(look->handle, 0); /* serves on_error() */
    rd_kafka_resp_err_t cause = look->last_error ? look->last_error : code;

    topic->state = TOPIC_UNREACHABLE;
    topic->passes = cause != RD_KAFKA_RESP_ERR__RESOLVE;
    (void)snprintf(topic->broker, sizeof topic->broker, "%s:%d", broker->host, broker->port);
    (void)snprintf(topic->why, sizeof topic->why, "%s", rd_kafka_err2str(cause));
}

/* Only the leader knows where a partition ends: to ask it is to reach it. */
static bool ask_leader(struct look *look, const struct rd_kafka_metadata *metadata, int n,
                       struct topic_status *topic, int timeout_ms)
{
    const rd_kafka_metadata_partition_t *partition = &metadata->topics[0].partitions[n];
    const rd_kafka_metadata_broker_t *broker = broker_of(metadata, partition->leader);
    int64_t begin, end;

    topic->partition = partition->id;
    if (!broker) {
        topic->state = TOPIC_LEADERLESS;
        return false;
    }
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        look->handle, topic->name, partition->id, &begin, &end, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        topic->state = TOPIC_REFUSED;
    else if (code)
        leader_failed(look, code, broker, topic);
    return topic->state == TOPIC_PRESENT;
}

static void ask_leaders(struct look *look, const struct rd_kafka_metadata *metadata,
                        struct topic_status *topic, int timeout_ms)
{
    const rd_kafka_metadata_topic_t *found = &metadata->topics[0];

    for (int n = 0; topic->state == TOPIC_PRESENT && n < found->partition_cnt; n++)
        if (!is_asked(found, n) && !ask_leader(look, metadata, n, topic, timeout_ms))
            return;
}

static bool look_at(struct look *look, struct topic_status *topic, int timeout_ms,
                    struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(look->handle, topic->name, NULL);
    if (!handle)
        return kafka_failure(err, look->handle, rd_kafka_last_error(), topic->name);

    rd_kafka_resp_err_t code = rd_kafka_metadata(look->handle, 0, handle, &metadata, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (code) {
        (void)rd_kafka_poll(look->handle, 0); /* serves on_error() */
        return look_failed(look, code, err);
    }
    topic->state = TOPIC_MISSING;
    if (metadata->topic_cnt == 1)
        read_status(&metadata->topics[0], topic);
    ask_leaders(look, metadata, topic, timeout_ms);
    rd_kafka_metadata_destroy(metadata);
    return true;
}

bool topics_look(const struct settings *settings, struct topic_status *topics, size_t n,
                 int timeout_ms, struct error *err)
{
    struct look look = { 0 };
    bool ok = look_open(&look, settings, err);

    for (size_t i = 0; ok && i < n; i++)
        ok = look_at(&look, &topics[i], timeout_ms, err);
    look_close(&look);
    return ok;
}

static bool ask_progress(struct look *look, rd_kafka_topic_partition_list_t *list,
                         struct topic_progress *progress, int timeout_ms, struct error *err)
{
    const rd_kafka_topic_partition_t *one = &list->elems[0];
    rd_kafka_resp_err_t code = rd_kafka_committed(look->handle, list, timeout_ms);
    int64_t begin = -1;
    int64_t end = -1;

    if (!code)
        code = one->err;
    if (!code)
        code = rd_kafka_query_watermark_offsets(look->handle, one->topic, one->partition, &begin,
                                                &end, timeout_ms);
    if (code) {
        (void)rd_kafka_poll(look->handle, 0);
        return look_failed(look, code, err);
    }
    *progress = (struct topic_progress){
        .committed = one->offset < 0 ? -1 : one->offset,
        .begin = begin,
        .end = end,
    };
    return true;
}

bool topics_progress(const struct settings *settings, int32_t partition,
                     struct topic_progress *progress, int timeout_ms, struct error *err)
{
    struct look look = { 0 };
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(list, settings->kafka_topic, partition);
    bool ok =
        look_open(&look, settings, err) && ask_progress(&look, list, progress, timeout_ms, err);
    look_close(&look);
    return ok;
}
