#include "worker/admin/migrate_topics.h"

#include "worker/cli/print.h"
#include "worker/kafka/topic_maker.h"

/*
 * Partitions bound how many events are taken in at once, not how many runs, and cannot
 * be removed again. Events end within a day, or somebody looks into it within a week;
 * a dead letter waits longer to be looked at.
 */
enum {
    KAFKA_TIMEOUT_MS = 30000,
    PARTITIONS = 6,
    PARTITIONS_MAX = 10000,
    REPLICAS_MAX = 100,
    EVENT_RETENTION_DAYS = 7,
    DEAD_LETTER_RETENTION_DAYS = 30,
};
#define MS_PER_DAY INT64_C(86400000)

static bool refuse_without_topics(struct context *context, const char *option, struct error *err)
{
    return arguments_flag(context->arguments, "--topics") ||
           !arguments_value(context->arguments, option) ||
           wrong_usage(context, err, "%s is for --topics", option);
}

bool migrate_topics_read(struct context *context, struct migrate_topics *topics, struct error *err)
{
    struct migrate_topics read = { .wanted = arguments_flag(context->arguments, "--topics"),
                                   .partitions = PARTITIONS };

    if (!refuse_without_topics(context, "--partitions", err) ||
        !refuse_without_topics(context, "--replication-factor", err) ||
        !arguments_number(context, "--partitions", (struct number_range){ 1, PARTITIONS_MAX },
                          &read.partitions, err) ||
        !arguments_number(context, "--replication-factor", (struct number_range){ 1, REPLICAS_MAX },
                          &read.replicas, err))
        return false;
    *topics = read;
    return true;
}

static void print_stand(const char *name, const struct topic_stand *stand)
{
    const char *what = stand->created ? "Created topic" : "Topic";
    const char *before = stand->created ? "" : " exists already";

    if (stand->partitions == 0)
        print_line("%s %s%s: how many partitions it has cannot be read, Describe on it is missing",
                   what, name, before);
    else
        print_line("%s %s%s: %d partition%s, replication factor %d", what, name, before,
                   stand->partitions, stand->partitions == 1 ? "" : "s", stand->replicas);
}

static bool make(struct topic_maker *maker, const struct topic_wish *wish, struct error *err)
{
    struct topic_stand stand;

    if (!*wish->name) /* KAFKA_OUTCOME_TOPIC, turned off */
        return true;
    if (!topic_maker_make(maker, wish, &stand, err))
        return false;
    print_stand(wish->name, &stand);
    return true;
}

static bool make_all(struct topic_maker *maker, const struct settings *settings,
                     const struct migrate_topics *topics, struct error *err)
{
    int partitions = (int)topics->partitions, replicas = (int)topics->replicas;
    const struct topic_wish wishes[] = {
        { settings->kafka_topic, partitions, replicas, EVENT_RETENTION_DAYS * MS_PER_DAY },
        { settings->kafka_dead_letter_topic, 1, replicas, DEAD_LETTER_RETENTION_DAYS * MS_PER_DAY },
        { settings->kafka_outcome_topic, partitions, replicas, EVENT_RETENTION_DAYS * MS_PER_DAY },
    };

    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
        if (!make(maker, &wishes[i], err))
            return false;
    return true;
}

static void warn_of_few_brokers(int brokers)
{
    int replicas = topic_maker_replicas(brokers);

    if (topic_maker_min_insync(replicas) < 2)
        warn_user("the cluster has %d broker%s: topics get replication factor %d, not 3; records "
                  "can be lost with a disk",
                  brokers, brokers == 1 ? "" : "s", replicas);
}

bool migrate_topics_make(const struct settings *settings, const struct migrate_topics *topics,
                         struct error *err)
{
    CLEANUP(topic_maker_freep)
    struct topic_maker *maker = topic_maker_new(settings, KAFKA_TIMEOUT_MS, err);

    if (!maker)
        return false;
    if (topics->replicas == 0)
        warn_of_few_brokers(topic_maker_brokers(maker));
    return make_all(maker, settings, topics, err);
}
