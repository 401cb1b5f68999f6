#include "worker/kafka/topic_maker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"

enum { REPLICAS = 3, KNOWN_EVERY_MS = 50 };

static const char right[] = "Create on the topic, or on the cluster";

struct topic_maker {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    struct kafka_last_error last_error;
    int brokers;
    int timeout_ms;
};

int topic_maker_replicas(int brokers)
{
    return brokers < 1 ? 1 : brokers < REPLICAS ? brokers : REPLICAS;
}

int topic_maker_min_insync(int replicas)
{
    return replicas < REPLICAS ? 1 : 2;
}

static bool failed(struct topic_maker *maker, rd_kafka_resp_err_t code, const char *what,
                   struct error *err)
{
    rd_kafka_resp_err_t cause = kafka_last_error_cause(&maker->last_error, maker->handle, code);

    return kafka_failure_right(err, maker->handle, cause, what, right);
}

/* ---- what is there ---- */

enum presence {
    TOPIC_MISSING,
    TOPIC_THERE,
    TOPIC_HIDDEN, /* whoever may not describe it does not hear whether it is there */
};

static enum presence presence_of(const struct rd_kafka_metadata *metadata)
{
    const rd_kafka_metadata_topic_t *found = metadata->topic_cnt == 1 ? metadata->topics : NULL;

    if (found && found->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return TOPIC_HIDDEN;
    return found && found->partition_cnt > 0 ? TOPIC_THERE : TOPIC_MISSING;
}

/* *stand is written where the topic is there. */
static bool find(struct topic_maker *maker, const char *name, struct topic_stand *stand,
                 enum presence *presence, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(maker->handle, name, NULL);
    if (!topic)
        return failed(maker, rd_kafka_last_error(), name, err);

    rd_kafka_resp_err_t code =
        rd_kafka_metadata(maker->handle, 0, topic, &metadata, maker->timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (code)
        return failed(maker, code, "Kafka did not answer", err);
    maker->brokers = metadata->broker_cnt;
    *presence = presence_of(metadata);
    if (*presence == TOPIC_THERE)
        *stand = (struct topic_stand){ .partitions = metadata->topics->partition_cnt,
                                       .replicas = metadata->topics->partitions[0].replica_cnt };
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* ---- making one ---- */

static void set_number(rd_kafka_NewTopic_t *topic, const char *name, int64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRId64, number);
    (void)rd_kafka_NewTopic_set_config(topic, name, text);
}

DEFINE_HANDLE(new_topic, rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy)
DEFINE_HANDLE(admin_options, rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy)
DEFINE_HANDLE(event, rd_kafka_event_t, rd_kafka_event_destroy)

static rd_kafka_NewTopic_t *wished(const struct topic_wish *wish, int replicas, struct error *err)
{
    char why[256] = "";
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(wish->name, wish->partitions, replicas, why, sizeof why);

    if (!topic) {
        (void)error_set(err, ERROR_INPUT, "topic %s: %s", wish->name, why);
        return NULL;
    }
    set_number(topic, "retention.ms", wish->retention_ms);
    set_number(topic, "min.insync.replicas", topic_maker_min_insync(replicas));
    return topic;
}

/* The brokers' answer: on the call, else on the topic. NULL text: they give no reason. */
static rd_kafka_resp_err_t outcome_of(rd_kafka_event_t *event, const char **text)
{
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    size_t n = 0;
    const rd_kafka_topic_result_t **topics =
        result ? rd_kafka_CreateTopics_result_topics(result, &n) : NULL;

    *text = NULL;
    if (rd_kafka_event_error(event) || n != 1)
        return rd_kafka_event_error(event);
    *text = rd_kafka_topic_result_error_string(topics[0]);
    return rd_kafka_topic_result_error(topics[0]);
}

/* If the brokers say more than a code does, their text is shown. */
static bool refused(struct topic_maker *maker, rd_kafka_resp_err_t code, const char *text,
                    const char *name, struct error *err)
{
    if (text &&
        (code == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR ||
         code == RD_KAFKA_RESP_ERR_POLICY_VIOLATION || code == RD_KAFKA_RESP_ERR_INVALID_CONFIG))
        return error_set(err, ERROR_INPUT, "topic %s: %.500s", name, text);
    (void)failed(maker, code, name, err);
    return error_wrap(err, "topic");
}

/* *exists: it was created by others in the meantime. */
static bool create(struct topic_maker *maker, const struct topic_wish *wish, int replicas,
                   bool *exists, struct error *err)
{
    CLEANUP(admin_options_freep)
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(maker->handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    CLEANUP(new_topic_freep) rd_kafka_NewTopic_t *topic = wished(wish, replicas, err);
    const char *text;

    if (!topic)
        return false;
    (void)rd_kafka_AdminOptions_set_request_timeout(options, maker->timeout_ms, NULL, 0);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, maker->timeout_ms, NULL, 0);
    rd_kafka_CreateTopics(maker->handle, &topic, 1, options, maker->queue);
    CLEANUP(event_freep) rd_kafka_event_t *event = rd_kafka_queue_poll(maker->queue, -1);
    rd_kafka_resp_err_t code = outcome_of(event, &text);
    *exists = code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
    return !code || *exists || refused(maker, code, text, wish->name, err);
}

/*
 * A controller answers before every broker knows the topic: later calls must find it. One that
 * is hidden is not waited for.
 */
static bool wait_until_known(struct topic_maker *maker, const char *name, struct topic_stand *stand,
                             struct error *err)
{
    int64_t until_ms = clock_ms() + maker->timeout_ms;
    enum presence presence = TOPIC_MISSING;

    for (;;) {
        if (!find(maker, name, stand, &presence, err))
            return false;
        if (presence != TOPIC_MISSING || clock_ms() >= until_ms)
            return true; /* it was created, though not every broker knows yet */
        (void)rd_kafka_poll(maker->handle, KNOWN_EVERY_MS);
    }
}

bool topic_maker_make(struct topic_maker *maker, const struct topic_wish *wish,
                      struct topic_stand *stand, struct error *err)
{
    enum presence presence = TOPIC_MISSING;
    bool exists = false;

    if (!find(maker, wish->name, stand, &presence, err))
        return false;
    if (presence == TOPIC_THERE)
        return true;
    int replicas = wish->replicas ? wish->replicas : topic_maker_replicas(maker->brokers);
    if (!create(maker, wish, replicas, &exists, err))
        return false;
    *stand = exists ? (struct topic_stand){ .created = false }
                    : (struct topic_stand){ true, wish->partitions, replicas };
    if (!wait_until_known(maker, wish->name, stand, err))
        return false;
    stand->created = !exists;
    return true;
}

/* ---- the maker ---- */

static bool open_maker(struct topic_maker *maker, const struct settings *settings,
                       struct error *err)
{
    const struct kafka_handle_callbacks callbacks = { .opaque = &maker->last_error,
                                                      .error = kafka_last_error_note };
    struct topic_stand ignored;
    enum presence presence = TOPIC_MISSING;

    maker->handle = kafka_handle_new(settings, HANDLE_READER, &callbacks, err);
    if (!maker->handle)
        return false;
    maker->queue = rd_kafka_queue_new(maker->handle);
    return find(maker, settings->kafka_topic, &ignored, &presence, err);
}

struct topic_maker *topic_maker_new(const struct settings *settings, int timeout_ms,
                                    struct error *err)
{
    struct topic_maker *maker = calloc(1, sizeof *maker);

    if (!maker) {
        (void)error_no_memory(err);
        return NULL;
    }
    maker->timeout_ms = timeout_ms;
    if (!open_maker(maker, settings, err)) {
        topic_maker_free(maker);
        return NULL;
    }
    return maker;
}

void topic_maker_free(struct topic_maker *maker)
{
    if (!maker)
        return;
    if (maker->queue)
        rd_kafka_queue_destroy(maker->queue);
    (void)kafka_handle_free(maker->handle);
    free(maker);
}

int topic_maker_brokers(const struct topic_maker *maker)
{
    return maker->brokers;
}
