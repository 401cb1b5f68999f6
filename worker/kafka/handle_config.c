#include "worker/kafka/handle_config.h"

#include <inttypes.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/kafka/properties.h"

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

/*
 * What the guarantees need: properties.c refuses a file that sets one of these otherwise, save
 * the two times, which a file may have for other clients.
 */
static const struct pair member_fixed[] = {
    { "partition.assignment.strategy", "cooperative-sticky" },
    { "enable.auto.commit", "true" },
    /* Where a new worker begins. commits.c counts on both times. */
    { "auto.commit.interval.ms", "200" },
    { "retry.backoff.ms", "100" },
    { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },
    { "auto.offset.reset", "earliest" },
    { "allow.auto.create.topics", "false" },
    /* Above it librdkafka fetches nothing, and looks again only after a second. */
    { "queued.min.messages", "10000" },
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
    { "enable.auto.commit", "false" },
    { "enable.auto.offset.store", "false" },
    { "enable.partition.eof", "true" },
    { "auto.offset.reset", "error" },
    { "allow.auto.create.topics", "false" },
    { "queued.max.messages.kbytes", "1024" },
    { "queued.min.messages", "100" },
    { "fetch.max.bytes", "1048576" },
    { "max.partition.fetch.bytes", "262144" },
    /*
     * At a partition's end a fetch waits so long for more, and a broker answers one at a time:
     * the next one, for another record, waits behind it (measured with librdkafka's 500 ms: 60
     * records, in turn of six partitions, in 28 s instead of 0.5 s).
     */
    { "fetch.wait.max.ms", "10" },
};

static const struct pair writer_fixed[] = {
    { "enable.idempotence", "true" },
    /* A broker refuses a whole batch for one record that is too large. */
    { "batch.num.messages", "1" },
    /*
     * One request at a time. Of several a broker that has just started may refuse the first
     * and take the second, which is the first that it knows of this producer; that one,
     * sent again, is out of order then, and librdkafka 2.0.2 calls it delivered (measured:
     * up to 7 of 180 records acknowledged and lost over a restart).
     */
    { "max.in.flight.requests.per.connection", "1" },
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

/* The group's name is another one, or there is none: not every role has a group. */
static bool check_group(const struct settings *settings, const struct property *property,
                        struct error *err)
{
    return strcmp(property->value, settings->kafka_group_id) == 0 ||
           error_set(err, ERROR_FATAL,
                     "KAFKA_CONFIG_FILE: %s line %u: group.id is not KAFKA_GROUP_ID: set that "
                     "instead",
                     settings->kafka_config_file, property->line);
}

static bool set_file(rd_kafka_conf_t *conf, const struct settings *settings, struct error *err)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;
    const char *path = settings->kafka_config_file;

    if (!properties_load(&properties, path, err))
        return false;
    for (size_t i = 0; i < properties.n; i++) {
        const struct property *property = &properties.items[i];

        if (strcmp(property->name, "group.id") == 0 ? !check_group(settings, property, err)
                                                    : !set_property(conf, property, path, err))
            return false;
    }
    return true;
}

/* Another one for each handle of each process, so that brokers' logs tell them apart; a default. */
static bool set_client_id(rd_kafka_conf_t *conf, struct error *err)
{
    char host[64] = "";
    char id[160];

    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(id, sizeof id, "klaviyo-worker-%s-%ld-%08" PRIx32, host, (long)getpid(),
                   randombytes_random());
    return set(conf, "client.id", id, err);
}

static bool set_role(rd_kafka_conf_t *conf, const struct settings *settings, enum handle_role role,
                     struct error *err)
{
    switch (role) {
    case HANDLE_MEMBER:
        return set_all(conf, member_defaults, COUNT(member_defaults), err) &&
               set_file(conf, settings, err) &&
               set_all(conf, member_fixed, COUNT(member_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_READER:
        return set_file(conf, settings, err) &&
               set_all(conf, reader_fixed, COUNT(reader_fixed), err);
    case HANDLE_OBSERVER:
        return set_file(conf, settings, err) &&
               set_all(conf, reader_fixed, COUNT(reader_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_LOOKUP:
        return set_file(conf, settings, err) &&
               set_all(conf, lookup_fixed, COUNT(lookup_fixed), err) &&
               set(conf, "group.id", settings->kafka_group_id, err);
    case HANDLE_WRITER:
        break;
    }
    return set_all(conf, writer_defaults, COUNT(writer_defaults), err) &&
           set_file(conf, settings, err) && set_all(conf, writer_fixed, COUNT(writer_fixed), err);
}

static bool set_brokers(rd_kafka_conf_t *conf, const struct settings *settings, struct error *err)
{
    return set(conf, "bootstrap.servers", settings->kafka_bootstrap_servers, err);
}

/* The file may name brokers instead of the default. */
rd_kafka_conf_t *handle_config_new(const struct settings *settings, enum handle_role role,
                                   struct error *err)
{
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (!set_all(conf, defaults, COUNT(defaults), err) || !set_client_id(conf, err) ||
        !set_brokers(conf, settings, err) || !set_role(conf, settings, role, err) ||
        (settings->kafka_bootstrap_servers_set && !set_brokers(conf, settings, err)))
        return NULL;
    return conf_take(&conf);
}
