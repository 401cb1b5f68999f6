#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/settings/settings.h"

static const char *const names[] = {
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_CONFIG_FILE",
    "KAFKA_TOPIC",
    "KAFKA_DEAD_LETTER_TOPIC",
    "KAFKA_OUTCOME_TOPIC",
    "KAFKA_GROUP_ID",
    "KLAVIYO_BASE_URL",
    "KLAVIYO_REVISION",
    "KLAVIYO_ALLOW_HTTP",
    "KLAVIYO_CA_FILE",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "SECRET_KEY_FILE",
    "HTTP_LISTEN",
    "HTTP_HOSTS",
    "MAX_RUNS",
    "LEASE_SECONDS",
    "DRAIN_SECONDS",
    "RETRY_BUDGET_SECONDS",
    "REQUEST_TIMEOUT_SECONDS",
    "POLL_INTERVAL_MIN_MS",
    "POLL_INTERVAL_MAX_MS",
    "RETENTION_DAYS",
    "LOG_LEVEL",
    "LOG_FORMAT",
};

static int clear_environment(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (unsetenv(names[i]) != 0)
            return -1;
    return secret_library_init(&err) ? 0 : -1;
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void refused(const char *name, const char *value)
{
    struct settings settings = { .max_runs = 7 };
    struct error err = ERROR_INIT;

    set(name, value);
    if (settings_load(&settings, NULL, &err))
        fail_msg("%s was taken as %s", value, name);
    assert_memory_equal(err.text, name, strlen(name));
    assert_int_equal(settings.max_runs, 7); /* a failure writes no output */
    assert_int_equal(unsetenv(name), 0);
}

static void taken(const char *name, const char *value)
{
    struct settings settings;
    struct error err = ERROR_INIT;

    set(name, value);
    if (!settings_load(&settings, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(unsetenv(name), 0);
}

static void what_is_not_set_has_its_default(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.database_url.text, "");
    assert_string_equal(s.database_url.file, "");
    assert_string_equal(s.kafka_bootstrap_servers, "localhost:9092");
    assert_false(s.kafka_bootstrap_servers_set);
    assert_string_equal(s.kafka_topic, "segment-refresh");
    assert_string_equal(s.kafka_dead_letter_topic, "segment-refresh.dead-letter");
    assert_string_equal(s.kafka_outcome_topic, "segment-export");
    assert_string_equal(s.kafka_group_id, "klaviyo-worker");
    assert_string_equal(s.klaviyo_base_url, "https://a.klaviyo.com");
    assert_string_equal(s.klaviyo_revision, "2026-10-15");
    assert_string_equal(s.http_listen, "127.0.0.1:8080");
    assert_int_equal(s.max_runs, 4);
    assert_int_equal(s.lease_seconds, 15);
    assert_int_equal(s.drain_seconds, 35);
    assert_int_equal(s.retry_budget_seconds, 900);
    assert_int_equal(s.request_timeout_seconds, 30);
    assert_int_equal(s.poll_interval_min_ms, 1000);
    assert_int_equal(s.poll_interval_max_ms, 15000);
    assert_int_equal(s.retention_days, 30);
    assert_int_equal(s.log_level, LOG_LEVEL_INFO);
}

static void brokers_are_set_where_they_are_named_even_if_by_the_default(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092");
    assert_true(settings_load(&s, NULL, &err));
    assert_true(s.kafka_bootstrap_servers_set);
    set("KAFKA_BOOTSTRAP_SERVERS", "");
    assert_true(settings_load(&s, NULL, &err));
    assert_false(s.kafka_bootstrap_servers_set);
}

static void an_empty_outcome_topic_turns_outcomes_off(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("KAFKA_OUTCOME_TOPIC", "");
    set("KAFKA_TOPIC", "");
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.kafka_outcome_topic, "");
    assert_string_equal(s.kafka_topic, "segment-refresh"); /* empty is as good as not set */
}

static void no_topic_has_two_uses(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("KAFKA_TOPIC", "one");
    set("KAFKA_OUTCOME_TOPIC", "one");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "KAFKA_OUTCOME_TOPIC is KAFKA_TOPIC");
    set("KAFKA_OUTCOME_TOPIC", "two");
    set("KAFKA_DEAD_LETTER_TOPIC", "two");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "KAFKA_OUTCOME_TOPIC is KAFKA_DEAD_LETTER_TOPIC");
    set("KAFKA_OUTCOME_TOPIC", "");
    set("KAFKA_DEAD_LETTER_TOPIC", "one");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "KAFKA_DEAD_LETTER_TOPIC is KAFKA_TOPIC");
    set("KAFKA_DEAD_LETTER_TOPIC", "three");
    assert_true(settings_load(&s, NULL, &err));
}

static void all_problems_are_named_at_once_a_line_each(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("MAX_RUNS", "many");
    set("LEASE_SECONDS", "1");
    set("LOG_LEVEL", "loud");
    assert_false(settings_load(&s, NULL, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
    assert_string_equal(err.text, "MAX_RUNS is not a whole number from 1 to 64\n"
                                  "LEASE_SECONDS is not a whole number from 2 to 300\n"
                                  "LOG_LEVEL is not one of debug, info, warn, error");
}

static void what_contradicts_itself_is_named_along_with_the_rest(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("MAX_RUNS", "many");
    set("POLL_INTERVAL_MIN_MS", "20000");
    set("KAFKA_TOPIC", "one");
    set("KAFKA_DEAD_LETTER_TOPIC", "one");
    set("KAFKA_OUTCOME_TOPIC", "one");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "MAX_RUNS is not a whole number from 1 to 64\n"
                                  "POLL_INTERVAL_MIN_MS is more than POLL_INTERVAL_MAX_MS\n"
                                  "KAFKA_DEAD_LETTER_TOPIC is KAFKA_TOPIC\n"
                                  "KAFKA_OUTCOME_TOPIC is KAFKA_TOPIC\n"
                                  "KAFKA_OUTCOME_TOPIC is KAFKA_DEAD_LETTER_TOPIC");
}

static void what_is_wrong_by_itself_is_compared_with_nothing(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("POLL_INTERVAL_MIN_MS", "20000");
    set("POLL_INTERVAL_MAX_MS", "never");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "POLL_INTERVAL_MAX_MS is not a whole number from 10 to 600000");
}

static bool key_is_wrong(const struct settings *settings, struct error *err)
{
    return error_set(err, ERROR_INPUT, "SECRET_KEY_FILE: %s is no key", settings->secret_key_file);
}

static bool all_is_well(const struct settings *settings, struct error *err)
{
    (void)settings;
    (void)err;
    return true;
}

static bool memory_is_short(const struct settings *settings, struct error *err)
{
    (void)settings;
    return error_set(err, ERROR_RETRY, "KAFKA_CONFIG_FILE: out of memory");
}

static void what_a_command_reads_is_named_along_with_the_rest(void **state)
{
    static settings_file_check *const wrong[] = { key_is_wrong, all_is_well, NULL };
    static settings_file_check *const short_of[] = { memory_is_short, NULL };
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("MAX_RUNS", "many");
    set("SECRET_KEY_FILE", "/etc/motd");
    assert_false(settings_load(&s, &(struct settings_checks){ .files = wrong }, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
    assert_string_equal(err.text, "MAX_RUNS is not a whole number from 1 to 64\n"
                                  "SECRET_KEY_FILE: /etc/motd is no key");
    set("MAX_RUNS", "4");
    assert_false(settings_load(&s, &(struct settings_checks){ .files = wrong }, &err));
    assert_string_equal(err.text, "SECRET_KEY_FILE: /etc/motd is no key");
    assert_false(settings_load(&s, &(struct settings_checks){ .files = short_of }, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_true(settings_load(&s, &(struct settings_checks){ .files = wrong + 1 }, &err));
}

static void more_than_can_be_told_is_said_to_be_more(void **state)
{
    char path[1300] = "/";
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    memset(path + 1, 'x', sizeof path - 2);
    path[sizeof path - 1] = '\0';
    set("KLAVIYO_REVISION", "yesterday");
    set("KLAVIYO_CA_FILE", path);
    set("DATABASE_URL_FILE", path);
    set("MAX_RUNS", "many");
    assert_false(settings_load(&s, NULL, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
    assert_memory_equal(err.text, "DATABASE_URL_FILE", strlen("DATABASE_URL_FILE"));
    assert_non_null(strstr(err.text, "\nMore settings are wrong"));
}

static void a_number_is_a_number_within_its_bounds_and_nothing_else(void **state)
{
    static const char *const bad[] = { " 1",  "1 ",   "+1",  "-1", "0",
                                       "1e3", "0x10", "1.0", "65", "99999999999999999999",
                                       "one" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused("MAX_RUNS", bad[i]);
    taken("MAX_RUNS", "1");
    taken("MAX_RUNS", "64");
}

static void the_address_of_klaviyo_is_encrypted_or_this_machine(void **state)
{
    static const char *const bad[] = {
        "a.klaviyo.com",
        "ftp://a.klaviyo.com",
        "https://",
        "http://a.klaviyo.com",
        "https://a.klaviyo.com/",
        "https://user@a.klaviyo.com",
        "http://localhost.evil.example",
        "http://127.evil.example",
        "https://a.klaviyo.com?x=y",
        "https://a.klaviyo.com x",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@evil.example",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused("KLAVIYO_BASE_URL", bad[i]);
    taken("KLAVIYO_BASE_URL", "https://klaviyo.example:8443");
    taken("KLAVIYO_BASE_URL", "http://127.0.0.1:8090");
    taken("KLAVIYO_BASE_URL", "http://localhost:8090");
    taken("KLAVIYO_BASE_URL", "http://[::1]:8090");
    set("KLAVIYO_ALLOW_HTTP", "1");
    taken("KLAVIYO_BASE_URL", "http://a.klaviyo.com");
}

static void the_authorities_are_ours_or_those_of_the_environment(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    refused("KLAVIYO_CA_FILE", "/nowhere/authorities.pem");
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.klaviyo_ca_file, "");
    set("SSL_CERT_FILE", "/dev/null");
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.klaviyo_ca_file, "/dev/null");
    set("KLAVIYO_CA_FILE", "/dev/zero");
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.klaviyo_ca_file, "/dev/zero");
}

static void a_revision_is_a_date(void **state)
{
    (void)state;
    refused("KLAVIYO_REVISION", "yesterday");
    refused("KLAVIYO_REVISION", "2026-13-01");
    refused("KLAVIYO_REVISION", "2026-02-30");
    refused("KLAVIYO_REVISION", "2026-10-15x");
    taken("KLAVIYO_REVISION", "2026-07-15");
    taken("KLAVIYO_REVISION", "2026-10-15.pre");
}

static void listening_is_host_and_port_or_nothing(void **state)
{
    (void)state;
    refused("HTTP_LISTEN", "8080");
    refused("HTTP_LISTEN", ":8080");
    refused("HTTP_LISTEN", "127.0.0.1:");
    refused("HTTP_LISTEN", "127.0.0.1:70000");
    taken("HTTP_LISTEN", "");
    taken("HTTP_LISTEN", "0.0.0.0:80");
    taken("HTTP_LISTEN", "[::1]:8080");
}

static void an_interval_does_not_end_before_it_begins(void **state)
{
    struct settings s;
    struct error err = ERROR_INIT;

    (void)state;
    set("POLL_INTERVAL_MIN_MS", "20000");
    assert_false(settings_load(&s, NULL, &err));
    assert_string_equal(err.text, "POLL_INTERVAL_MIN_MS is more than POLL_INTERVAL_MAX_MS");
}

static void a_secret_can_lie_in_a_file_and_is_never_shown(void **state)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    int fd = mkstemp(path);
    struct settings s;
    struct secret read = SECRET_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "postgresql://u:sesame@h/d\n", 26), 26);
    assert_int_equal(close(fd), 0);
    set("DATABASE_URL_FILE", path);
    assert_true(settings_load(&s, NULL, &err));
    assert_string_equal(s.database_url.file, path);
    assert_true(secret_source_read(&s.database_url, 100, &read, &err));
    assert_string_equal(read.bytes, "postgresql://u:sesame@h/d");
    secret_release(&read);

    set("DATABASE_URL", "postgresql://u:sesame@h/d");
    assert_false(settings_load(&s, NULL, &err));
    assert_non_null(strstr(err.text, "DATABASE_URL_FILE"));
    assert_null(strstr(err.text, "sesame"));
    assert_int_equal(unlink(path), 0);

    assert_int_equal(unsetenv("DATABASE_URL"), 0);
    assert_false(settings_load(&s, NULL, &err));
    assert_non_null(strstr(err.text, path));
}

static void each_setting_is_in_the_help_with_its_default_and_its_range(void **state)
{
    char text[16384] = "";
    FILE *out = fmemopen(text, sizeof text, "w");

    (void)state;
    assert_non_null(out);
    settings_print_help(out);
    settings_print_markdown(out);
    assert_int_equal(fclose(out), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(strstr(text, names[i]));
    assert_non_null(strstr(text, "default: 4; range: 1 to 64\n"));
    assert_non_null(strstr(text, "| `MAX_RUNS` | `4` | 1 to 64 |"));
}

#define TEST(name) cmocka_unit_test_setup(name, clear_environment)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_set_has_its_default),
        TEST(brokers_are_set_where_they_are_named_even_if_by_the_default),
        TEST(an_empty_outcome_topic_turns_outcomes_off),
        TEST(no_topic_has_two_uses),
        TEST(all_problems_are_named_at_once_a_line_each),
        TEST(what_contradicts_itself_is_named_along_with_the_rest),
        TEST(what_is_wrong_by_itself_is_compared_with_nothing),
        TEST(what_a_command_reads_is_named_along_with_the_rest),
        TEST(more_than_can_be_told_is_said_to_be_more),
        TEST(a_number_is_a_number_within_its_bounds_and_nothing_else),
        TEST(the_address_of_klaviyo_is_encrypted_or_this_machine),
        TEST(the_authorities_are_ours_or_those_of_the_environment),
        TEST(a_revision_is_a_date),
        TEST(listening_is_host_and_port_or_nothing),
        TEST(an_interval_does_not_end_before_it_begins),
        TEST(a_secret_can_lie_in_a_file_and_is_never_shown),
        TEST(each_setting_is_in_the_help_with_its_default_and_its_range),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
