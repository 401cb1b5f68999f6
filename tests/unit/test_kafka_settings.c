#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/kafka/handle_config.h"
#include "worker/kafka/kafka_settings.h"

static char path[] = "/tmp/klaviyo-worker-kafka-settings.XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* brokers: NULL: the setting has its default. */
static struct settings settings_of(const char *brokers, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return (struct settings){ .kafka_bootstrap_servers = brokers ? brokers : "localhost:9092",
                              .kafka_bootstrap_servers_set = brokers != NULL,
                              .kafka_config_file = path,
                              .kafka_topic = "events",
                              .kafka_group_id = "workers" };
}

static const enum handle_role roles[] = { HANDLE_MEMBER, HANDLE_READER, HANDLE_LOOKUP,
                                          HANDLE_OBSERVER, HANDLE_WRITER };

/* What each role's configuration has; expected NULL: nothing. */
static void assert_has(const struct settings *settings, enum handle_role role, const char *name,
                       const char *expected)
{
    struct error err = ERROR_INIT;
    rd_kafka_conf_t *conf = handle_config_new(settings, role, &err);
    char value[256];
    size_t size = sizeof value;

    if (!conf)
        fail_msg("%s", err.text);
    rd_kafka_conf_res_t found = rd_kafka_conf_get(conf, name, value, &size);
    assert_int_equal(found == RD_KAFKA_CONF_OK, expected != NULL);
    if (expected)
        assert_string_equal(value, expected);
    rd_kafka_conf_destroy(conf);
}

static void the_brokers_are_the_settings_or_else_the_files(void **state)
{
    static const struct {
        const char *setting, *text, *brokers;
    } cases[] = {
        { NULL, "", "localhost:9092" },
        { NULL, "bootstrap.servers=kafka-1:9093,kafka-2:9093\n", "kafka-1:9093,kafka-2:9093" },
        { NULL, "metadata.broker.list = kafka-1:9093\n", "kafka-1:9093" },
        { NULL, "bootstrap.servers=a:1\nmetadata.broker.list=b:2\n", "b:2" },
        { NULL, "metadata.broker.list=b:2\nbootstrap.servers=a:1\n", "a:1" },
        { "ours:9092", "", "ours:9092" },
        { "ours:9092", "bootstrap.servers=kafka-1:9093\n", "ours:9092" },
        { "ours:9092", "metadata.broker.list=kafka-1:9093\n", "ours:9092" },
        { "localhost:9092", "bootstrap.servers=kafka-1:9093\n", "localhost:9092" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings settings = settings_of(cases[i].setting, cases[i].text);
        char shown[64];

        for (size_t role = 0; role < sizeof roles / sizeof roles[0]; role++)
            assert_has(&settings, roles[role], "bootstrap.servers", cases[i].brokers);
        kafka_settings_brokers(&settings, shown, sizeof shown);
        assert_string_equal(shown, cases[i].brokers);
    }
}

static void a_file_may_name_the_client(void **state)
{
    struct settings settings = settings_of(NULL, "client.id=marketing\n");

    (void)state;
    for (size_t role = 0; role < sizeof roles / sizeof roles[0]; role++)
        assert_has(&settings, roles[role], "client.id", "marketing");
}

/* Of a file that serves kcat, too. */
static void what_is_ours_anyway_is_taken_and_changes_nothing(void **state)
{
    struct settings settings =
        settings_of(NULL, "group.id=workers\n"
                          "enable.auto.commit=False\n"
                          "auto.commit.enable=0\n"
                          "enable.auto.offset.store=f\n"
                          "enable.partition.eof=T\n"
                          "auto.offset.reset=smallest\n"
                          "topic.auto.offset.reset=beginning\n"
                          "enable.idempotence=1\n"
                          "acks=-1\n"
                          "request.required.acks=ALL\n"
                          "topic.acks=all\n"
                          "partition.assignment.strategy=cooperative-sticky\n"
                          "batch.num.messages=1\n"
                          "queued.min.messages=10000\n"
                          "auto.commit.interval.ms=0\n"
                          "retry.backoff.ms=5000\n"
                          "allow.auto.create.topics=false\n");
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(kafka_settings_check(&settings, &err));
    assert_has(&settings, HANDLE_MEMBER, "enable.auto.commit", "true");
    assert_has(&settings, HANDLE_MEMBER, "enable.auto.offset.store", "false");
    assert_has(&settings, HANDLE_MEMBER, "auto.commit.interval.ms", "200");
    assert_has(&settings, HANDLE_MEMBER, "retry.backoff.ms", "100");
    assert_has(&settings, HANDLE_WRITER, "retry.backoff.ms", "5000");
    assert_has(&settings, HANDLE_MEMBER, "auto.offset.reset", "smallest");
    assert_has(&settings, HANDLE_READER, "auto.offset.reset", "error");
    assert_has(&settings, HANDLE_READER, "group.id", NULL);
    assert_has(&settings, HANDLE_LOOKUP, "queued.min.messages", "100");
    assert_has(&settings, HANDLE_WRITER, "enable.idempotence", "true");
}

/* It reads single records: one behind the end of a partition must not hold up the next. */
static void a_lookup_waits_for_no_more_records_whatever_suits_the_consumer(void **state)
{
    struct settings settings = settings_of(NULL, "fetch.wait.max.ms=5000\n");

    (void)state;
    assert_has(&settings, HANDLE_MEMBER, "fetch.wait.max.ms", "5000");
    assert_has(&settings, HANDLE_LOOKUP, "fetch.wait.max.ms", "10");
}

static void another_group_is_refused_and_not_shown(void **state)
{
    struct settings settings = settings_of(NULL, "\ngroup.id=hunter2\n");
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(kafka_settings_check(&settings, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
    assert_non_null(strstr(err.text, "line 2: group.id is not KAFKA_GROUP_ID"));
    assert_null(strstr(err.text, "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_brokers_are_the_settings_or_else_the_files),
        cmocka_unit_test(a_file_may_name_the_client),
        cmocka_unit_test(what_is_ours_anyway_is_taken_and_changes_nothing),
        cmocka_unit_test(a_lookup_waits_for_no_more_records_whatever_suits_the_consumer),
        cmocka_unit_test(another_group_is_refused_and_not_shown),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
