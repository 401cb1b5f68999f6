#ifndef TESTS_UNIT_MOCK_CLUSTER_H
#define TESTS_UNIT_MOCK_CLUSTER_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>
/* It wants rdkafka.h before it. */
#include <librdkafka/rdkafka_mock.h>

#include "worker/settings/settings.h"

/*
 * librdkafka's own mock broker, in this process, with the settings that lead to
 * it. Its group coordinator is simple: what depends on Kafka's own is tested
 * against a real one, in tests/integration.
 */
struct mock_cluster {
    rd_kafka_t *host;
    rd_kafka_mock_cluster_t *cluster;
    struct settings settings;
};

static inline void ignore_log(const rd_kafka_t *handle, int level, const char *facility,
                              const char *text)
{
    (void)handle;
    (void)level;
    (void)facility;
    (void)text;
}

static inline struct mock_cluster mock_cluster_start(const char *topic, int partitions)
{
    struct mock_cluster mock = {
        .settings = { .kafka_config_file = "",
                      .kafka_topic = topic,
                      .kafka_dead_letter_topic = "dead",
                      .kafka_outcome_topic = "",
                      .kafka_group_id = "workers" },
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_log_cb(conf, ignore_log);
    mock.host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    assert_non_null(mock.host);
    mock.cluster = rd_kafka_mock_cluster_new(mock.host, 1);
    assert_non_null(mock.cluster);
    assert_int_equal(rd_kafka_mock_topic_create(mock.cluster, topic, partitions, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(mock.cluster, "dead", 1, 1), 0);
    mock.settings.kafka_bootstrap_servers = rd_kafka_mock_cluster_bootstraps(mock.cluster);
    return mock;
}

static inline void mock_cluster_stop(struct mock_cluster *mock)
{
    rd_kafka_mock_cluster_destroy(mock->cluster);
    rd_kafka_destroy(mock->host);
}

#endif
