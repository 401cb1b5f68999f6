#include "worker/kafka/topics.h"

#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"

struct topic_query {
    rd_kafka_t *handle;
    struct kafka_last_error last_error;
};

static bool query_open(struct topic_query *query, const struct settings *settings,
                       enum handle_role role, struct error *err)
{
    const struct kafka_handle_callbacks callbacks = { .opaque = &query->last_error,
                                                      .error = kafka_last_error_note };

    query->handle = kafka_handle_new(settings, role, &callbacks, err);
    return query->handle != NULL;
}

static void query_close(struct topic_query *query)
{
    (void)kafka_handle_free(query->handle);
}

static bool query_failed(const struct topic_query *query, rd_kafka_resp_err_t code,
                         struct error *err)
{
    rd_kafka_resp_err_t cause = kafka_last_error_cause(&query->last_error, query->handle, code);

    (void)kafka_failure(err, query->handle, cause, "Kafka did not answer");
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
static void leader_failed(struct topic_query *query, rd_kafka_resp_err_t code,
                          const rd_kafka_metadata_broker_t *broker, struct topic_status *topic)
{
    rd_kafka_resp_err_t cause = kafka_last_error_cause(&query->last_error, query->handle, code);

    topic->state = TOPIC_UNREACHABLE;
    topic->passes = cause != RD_KAFKA_RESP_ERR__RESOLVE;
    (void)snprintf(topic->broker, sizeof topic->broker, "%s:%d", broker->host, broker->port);
    (void)snprintf(topic->why, sizeof topic->why, "%s", rd_kafka_err2str(cause));
}

/* Only the leader knows where a partition ends: to ask it is to reach it. */
static bool ask_leader(struct topic_query *query, const struct rd_kafka_metadata *metadata, int n,
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
        query->handle, topic->name, partition->id, &begin, &end, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        topic->state = TOPIC_REFUSED;
    else if (code)
        leader_failed(query, code, broker, topic);
    return topic->state == TOPIC_PRESENT;
}

static void ask_leaders(struct topic_query *query, const struct rd_kafka_metadata *metadata,
                        struct topic_status *topic, int timeout_ms)
{
    const rd_kafka_metadata_topic_t *found = &metadata->topics[0];

    for (int n = 0; topic->state == TOPIC_PRESENT && n < found->partition_cnt; n++)
        if (!is_asked(found, n) && !ask_leader(query, metadata, n, topic, timeout_ms))
            return;
}

static bool query_topic(struct topic_query *query, struct topic_status *topic, int timeout_ms,
                        struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(query->handle, topic->name, NULL);
    if (!handle)
        return kafka_failure(err, query->handle, rd_kafka_last_error(), topic->name);

    rd_kafka_resp_err_t code = rd_kafka_metadata(query->handle, 0, handle, &metadata, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (code)
        return query_failed(query, code, err);
    topic->state = TOPIC_MISSING;
    if (metadata->topic_cnt == 1)
        read_status(&metadata->topics[0], topic);
    ask_leaders(query, metadata, topic, timeout_ms);
    rd_kafka_metadata_destroy(metadata);
    return true;
}

bool topics_look(const struct settings *settings, struct topic_status *topics, size_t n,
                 int timeout_ms, struct error *err)
{
    struct topic_query query = { 0 };
    bool ok = query_open(&query, settings, HANDLE_READER, err);

    for (size_t i = 0; ok && i < n; i++)
        ok = query_topic(&query, &topics[i], timeout_ms, err);
    query_close(&query);
    return ok;
}

static bool ask_progress(struct topic_query *query, rd_kafka_topic_partition_list_t *list,
                         struct topic_progress *progress, int timeout_ms, struct error *err)
{
    const rd_kafka_topic_partition_t *one = &list->elems[0];
    rd_kafka_resp_err_t code = rd_kafka_committed(query->handle, list, timeout_ms);
    int64_t begin = -1;
    int64_t end = -1;

    if (!code)
        code = one->err;
    if (!code)
        code = rd_kafka_query_watermark_offsets(query->handle, one->topic, one->partition, &begin,
                                                &end, timeout_ms);
    if (code)
        return query_failed(query, code, err);
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
    struct topic_query query = { 0 };
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(list, settings->kafka_topic, partition);
    bool ok = query_open(&query, settings, HANDLE_OBSERVER, err) &&
              ask_progress(&query, list, progress, timeout_ms, err);
    query_close(&query);
    return ok;
}

/* ---- rights ---- */

/* A partition that no topic has: what is committed for it is refused, after the rights were held.
 */
enum { NO_PARTITION = INT32_MAX };

static rd_kafka_resp_err_t answer_of(rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);

    return list && list->cnt == 1 && list->elems[0].err ? list->elems[0].err : code;
}

/* The broker's answer to a commit that it cannot carry out. */
static rd_kafka_resp_err_t try_commit(struct topic_query *query, const char *topic, int timeout_ms)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(query->handle);
    rd_kafka_resp_err_t code;

    rd_kafka_topic_partition_list_add(list, topic, NO_PARTITION)->offset = 0;
    code = rd_kafka_commit_queue(query->handle, list, queue, NULL, NULL);
    if (!code) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
        code = event ? answer_of(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (event)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return kafka_last_error_cause(&query->last_error, query->handle, code);
}

static bool judge_access(struct topic_query *query, rd_kafka_resp_err_t code,
                         enum topics_access *access, struct error *err)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        *access = TOPICS_GROUP_REFUSED;
        return true;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        *access = TOPICS_TOPIC_REFUSED;
        return true;
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID: /* the group is at work: only its members commit */
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
        *access = TOPICS_READABLE;
        return true;
    default:
        break;
    }
    return kafka_failure(err, query->handle, code, "asking for the group");
}

bool topics_access(const struct settings *settings, enum topics_access *access, int timeout_ms,
                   struct error *err)
{
    struct topic_query query = { 0 };
    bool ok = query_open(&query, settings, HANDLE_OBSERVER, err);

    if (ok)
        ok = judge_access(&query, try_commit(&query, settings->kafka_topic, timeout_ms), access,
                          err);
    query_close(&query);
    return ok;
}
