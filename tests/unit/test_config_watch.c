#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/ingest/config_watch.h"

enum { CHECK_MS = 5000 };

static bool refuses; /* no client can be made */
static int checks;

bool __wrap_consumer_check(const struct settings *settings, struct error *err);

bool __wrap_consumer_check(const struct settings *settings UNUSED, struct error *err)
{
    checks++;
    return !refuses || error_set(err, ERROR_FATAL, "no such property");
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A file that is in use, and a watch on it. */
struct watched {
    char path[64];
    struct settings settings;
    struct config_watch watch;
    int64_t now_ms;
};

static void begin(struct watched *w)
{
    memset(w, 0, sizeof *w);
    (void)snprintf(w->path, sizeof w->path, "/tmp/config_watch.XXXXXX");
    int fd = mkstemp(w->path);
    assert_true(fd >= 0);
    (void)close(fd);
    write_file(w->path, "client.id=a\n");
    w->settings.kafka_config_file = w->path;
    config_watch_init(&w->watch, &w->settings);
    refuses = false;
    checks = 0;
}

static enum config_change check_after(struct watched *w, int64_t ms)
{
    struct error err = ERROR_INIT;

    w->now_ms += ms;
    enum config_change change = config_watch_check(&w->watch, w->now_ms, &err);
    assert_int_equal(err.kind, change == CONFIG_REFUSED ? ERROR_FATAL : ERROR_NONE);
    return change;
}

static void a_file_that_changes_is_told_of_once(void **state)
{
    struct watched w;

    (void)state;
    begin(&w);
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    write_file(w.path, "client.id=b\n");
    assert_int_equal(check_after(&w, CHECK_MS - 1), CONFIG_UNCHANGED);
    assert_int_equal(check_after(&w, 1), CONFIG_CHANGED);
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    assert_int_equal(checks, 1);
    (void)unlink(w.path);
}

static void a_file_that_no_client_takes_is_refused_once(void **state)
{
    struct watched w;

    (void)state;
    begin(&w);
    refuses = true;
    write_file(w.path, "client.id=b\n");
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_REFUSED);
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    refuses = false;
    write_file(w.path, "client.id=a\n");
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_CHANGED);
    (void)unlink(w.path);
}

static void a_file_that_is_being_replaced_is_as_it_was(void **state)
{
    struct watched w;

    (void)state;
    begin(&w);
    (void)unlink(w.path);
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    write_file(w.path, "client.id=a\n");
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    assert_int_equal(checks, 0);
    (void)unlink(w.path);
}

static void where_there_is_no_file_nothing_is_read(void **state)
{
    static char none[] = "";
    struct watched w;

    (void)state;
    begin(&w);
    (void)unlink(w.path);
    w.settings.kafka_config_file = none;
    config_watch_init(&w.watch, &w.settings);
    assert_int_equal(check_after(&w, CHECK_MS), CONFIG_UNCHANGED);
    assert_int_equal(checks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_changes_is_told_of_once),
        cmocka_unit_test(a_file_that_no_client_takes_is_refused_once),
        cmocka_unit_test(a_file_that_is_being_replaced_is_as_it_was),
        cmocka_unit_test(where_there_is_no_file_nothing_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
