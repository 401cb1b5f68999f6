#include "worker/kafka/handle.h"

#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/kafka/properties.h"

enum { DESTROY_SECONDS = 2 };

struct pair {
    const char *name, *value;
};

/* Defaults of ours; the file may choose otherwise. */
static const struct pair defaults[] = {
    /* A restarted broker is back within a second; librdkafka's own 10 s cost a rebalance. */
    { "reconnect.backoff.max.ms", "1000" },
    /* Our own error events say it once; librdkafka says it each second. */
    { "log.connection.close", "false" },
    { "topic.metadata.refresh.interval.ms", "10000" },
};

static const struct pair member_defaults[] = {
    /* Long enough for a broker's restart, so that it costs no rebalance. */
    { "session.timeout.ms", "30000" },
    { "auto.commit.interval.ms", "1000" },
    { "max.partition.fetch.bytes", "1048576" },
    { "fetch.max.bytes", "8388608" },
};

static const struct pair writer_defaults[] = {
    /* The broker decides what is too large, not we. */
    { "message.max.bytes", "104857600" },
    { "linger.ms", "0" },
    /* Where Java's clients put a key. */
    { "partitioner", "murmur2_random" },
};

/* What the promises rest on: properties.c refuses a file that sets one of these. */
static const struct pair member_fixed[] = {
    { "partition.assignment.strategy", "cooperative-sticky" },
    { "enable.auto.commit", "true" },
    { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },
    { "auto.offset.reset", "earliest" },
    { "allow.auto.create.topics", "false" },
    { "queued.min.messages", "100" },
    { "queued.max.messages.kbytes", "4096" },
    { "statistics.interval.ms", "5000" }, /* whether it is in the group: consumer.c */
};

static const struct pair reader_fixed[] = {
    { "enable.auto.commit", "false" },       { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },      { "auto.offset.reset", "error" },
    { "allow.auto.create.topics", "false" }, { "queued.max.messages.kbytes", "16384" },
    { "auto.commit.enable", "false" }, /* a reader without a group has nowhere to commit to */
};

static const struct pair lookup_fixed[] = {
    { "enable.auto.commit", "false" },         { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },        { "auto.offset.reset", "error" },
    { "allow.auto.create.topics", "false" },   { "queued.max.messages.kbytes", "1024" },
    { "queued.min.messages", "100" },          { "fetch.max.bytes", "1048576" },
    { "max.partition.fetch.bytes", "262144" },
};

static const struct pair writer_fixed[] = {
    { "enable.idempotence", "true" },
    /* A broker refuses a whole batch for one record that is too large. */
    { "batch.num.messages", "1" },
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return true;
    return error_set(err, ERROR_FATAL, "librdkafka %s does not take %s: %s", rd_kafka_version_str(),
                     name, why);
}

static bool set_all(rd_kafka_conf_t *conf, const struct pair *pairs, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!set(conf, pairs[i].name, pairs[i].value, err))
            return false;
    return true;
}

/* librdkafka's own words quote the value, so they are not used. */
static bool set_property(rd_kafka_conf_t *conf, const struct property *property, const char *path,
                         struct error *err)
{
    switch (rd_kafka_conf_set(conf, property->name, property->value, NULL, 0)) {
    case RD_KAFKA_CONF_OK:
        return true;
    case RD_KAFKA_CONF_UNKNOWN:
        return error_set(err, ERROR_FATAL,
                         "KAFKA_CONFIG_FILE: %s line %u: librdkafka %s knows no property %s", path,
                         property->line, rd_kafka_version_str(), property->name);
    case RD_KAFKA_CONF_INVALID:
        break;
    }
    return error_set(err, ERROR_FATAL,
                     "KAFKA_CONFIG_FILE: %s line %u: librdkafka %s does not take this value for %s",
                     path, property->line, rd_kafka_version_str(), property->name);
}

static bool set_file(rd_kafka_conf_t *conf, const char *path, struct error *err)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;

    if (!properties_load(&properties, path, err))
        return false;
    for (size_t i = 0; i < properties.n; i++)
        if (!set_property(conf, &properties.items[i], path, err))
            return false;
    return true;
}

/* Another one for each handle of each process, so that brokers' logs tell them apart. */
static bool set_client_id(rd_kafka_conf_t *conf, struct error *err)
{
    char host[64] = "";
    char id[160];

    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(id, sizeof id, "klaviyo-worker-%s-%ld-%08" PRIx32, host, (long)getpid(),
                   randombytes_random());
    return set(conf, "client.id", id, err);
}

static bool set_role(rd_kafka_conf_t *conf, const struct settings *settings,
                     enum kafka_handle_role role, struct error *err)
{
    switch (role) {
    case HANDLE_MEMBER:
        return set_all(conf, member_defaults, COUNT(member_defaults), err) &&
               set_file(conf, settings->kafka_config_file, err) &&
               set_all(conf, member_fixed, COUNT(member_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_READER:
        return set_file(conf, settings->kafka_config_file, err) &&
               set_all(conf, reader_fixed, COUNT(reader_fixed), err);
    case HANDLE_OBSERVER:
        return set_file(conf, settings->kafka_config_file, err) &&
               set_all(conf, reader_fixed, COUNT(reader_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_LOOKUP:
        return set_file(conf, settings->kafka_config_file, err) &&
               set_all(conf, lookup_fixed, COUNT(lookup_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_WRITER:
        break;
    }
    return set_all(conf, writer_defaults, COUNT(writer_defaults), err) &&
           set_file(conf, settings->kafka_config_file, err) &&
           set_all(conf, writer_fixed, COUNT(writer_fixed), err);
}

/*
 * One file is for consumers and producers: each hears of what is only the other's. And a
 * reader without a group needs a property that librdkafka calls a legacy one.
 */
static bool is_expected(const char *facility, const char *text)
{
    return strcmp(facility, "CONFWARN") == 0 &&
           (strstr(text, "is a consumer property") || strstr(text, "is a producer property") ||
            strstr(text, "auto.commit.enable is deprecated"));
}

static enum log_level level_of(int syslog_level, const char *facility, const char *text)
{
    /* Said once, and better, by our own events; or by no means a warning. */
    static const char *const quiet[] = { "FAIL", "ERROR", "GETPID", "AUTOCREATE" };

    for (size_t i = 0; i < COUNT(quiet); i++)
        if (strcmp(facility, quiet[i]) == 0)
            return LOG_LEVEL_DEBUG;
    if (is_expected(facility, text))
        return LOG_LEVEL_DEBUG;
    if (syslog_level <= 3)
        return LOG_LEVEL_ERROR;
    if (syslog_level == 4)
        return LOG_LEVEL_WARN;
    return syslog_level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
}

void kafka_handle_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    log_at(level_of(level, facility, text), "kafka_client", LOG_STR("facility", facility),
           LOG_STR("text", text));
}

static void set_callbacks(rd_kafka_conf_t *conf, const struct kafka_handle_callbacks *callbacks)
{
    rd_kafka_conf_set_log_cb(conf, callbacks && callbacks->log ? callbacks->log : kafka_handle_log);
    if (!callbacks)
        return;
    rd_kafka_conf_set_opaque(conf, callbacks->opaque);
    if (callbacks->rebalance)
        rd_kafka_conf_set_rebalance_cb(conf, callbacks->rebalance);
    if (callbacks->committed)
        rd_kafka_conf_set_offset_commit_cb(conf, callbacks->committed);
    if (callbacks->error)
        rd_kafka_conf_set_error_cb(conf, callbacks->error);
    if (callbacks->statistics)
        rd_kafka_conf_set_stats_cb(conf, callbacks->statistics);
    if (callbacks->delivered)
        rd_kafka_conf_set_dr_msg_cb(conf, callbacks->delivered);
}

DEFINE_HANDLE(conf, rd_kafka_conf_t, rd_kafka_conf_destroy)

rd_kafka_t *kafka_handle_new(const struct settings *settings, enum kafka_handle_role role,
                             const struct kafka_handle_callbacks *callbacks, struct error *err)
{
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[512];

    set_callbacks(conf, callbacks);
    if (!set_all(conf, defaults, COUNT(defaults), err) || !set_client_id(conf, err) ||
        !set_role(conf, settings, role, err) ||
        !set(conf, "bootstrap.servers", settings->kafka_bootstrap_servers, err))
        return NULL;

    rd_kafka_type_t type = role == HANDLE_WRITER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
    rd_kafka_t *handle = rd_kafka_new(type, conf, why, sizeof why);
    if (!handle) {
        error_set(err, ERROR_FATAL,
                  "librdkafka %s refuses its configuration: %s: check KAFKA_BOOTSTRAP_SERVERS "
                  "and KAFKA_CONFIG_FILE",
                  rd_kafka_version_str(), why);
        return NULL;
    }
    (void)conf_take(&conf); /* the handle's now */
    return handle;
}

static atomic_bool left_behind;

void kafka_handle_leave_behind(void)
{
    left_behind = true;
}

bool kafka_handle_is_left_behind(void)
{
    return left_behind;
}

static void *destroy(void *handle)
{
    rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

/* librdkafka 2.0.2 can hang here for ever after a deleted topic: so on a thread of its own, and
 * with a deadline. */
bool kafka_handle_free(rd_kafka_t *handle)
{
    struct timespec until;
    pthread_t thread;

    if (!handle)
        return true;
    if (pthread_create(&thread, NULL, destroy, handle) == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += DESTROY_SECONDS;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
            return true;
        (void)pthread_detach(thread);
    }
    log_warn("kafka_client_left_behind", LOG_STR("reason", "librdkafka did not end in time"));
    kafka_handle_leave_behind();
    return false;
}

static void *retire(void *handle)
{
    (void)kafka_handle_free(handle);
    return NULL;
}

void kafka_handle_retire(rd_kafka_t *handle)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, retire, handle) == 0)
        (void)pthread_detach(thread);
    else
        (void)kafka_handle_free(handle);
}

static bool make_room(struct kafka_handle_headers *headers, size_t n)
{
    if (n <= headers->cap)
        return true;
    struct record_header *larger = reallocarray(headers->items, n, sizeof *larger);
    if (!larger)
        return false;
    headers->items = larger;
    headers->cap = n;
    return true;
}

static bool read_headers(const rd_kafka_message_t *message, struct kafka_handle_headers *headers,
                         struct record *record)
{
    rd_kafka_headers_t *from;

    if (rd_kafka_message_headers(message, &from) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return true; /* it has none */
    size_t n = rd_kafka_header_cnt(from);
    if (!make_room(headers, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct record_header *to = &headers->items[i];
        if (rd_kafka_header_get_all(from, i, &to->name, &to->value, &to->value_bytes))
            break;
        record->headers_n = i + 1;
    }
    record->headers = headers->items;
    return true;
}

bool kafka_handle_read_message(const rd_kafka_message_t *message,
                               struct kafka_handle_headers *headers, struct record *record)
{
    rd_kafka_timestamp_type_t type;
    struct record read = {
        .topic = rd_kafka_topic_name(message->rkt),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = message->key,
        .key_bytes = message->key_len,
        .value = message->payload,
        .value_bytes = message->len,
    };

    if (!read_headers(message, headers, &read))
        return false;
    *record = read;
    return true;
}

void kafka_handle_watch(rd_kafka_queue_t *queue, int fd)
{
    static const uint64_t one = 1;

    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof one);
}
