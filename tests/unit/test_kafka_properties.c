#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/kafka/properties.h"

static char path[] = "/tmp/klaviyo-worker-properties.XXXXXX";

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

static bool load(const char *text, struct properties *properties, struct error *err)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return properties_load(properties, path, err);
}

static void lines_are_read_as_they_are(void **state)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(load("# comment\n\n security.protocol = SASL_SSL \r\nsasl.password=a=b#c\n"
                     "sasl.username=first\nsasl.username=second",
                     &properties, &err));
    assert_int_equal(properties.n, 4);
    assert_string_equal(properties_find(&properties, "security.protocol"), "SASL_SSL");
    assert_string_equal(properties_find(&properties, "sasl.password"), "a=b#c");
    assert_string_equal(properties_find(&properties, "sasl.username"), "second");
    assert_int_equal(properties.items[1].line, 4);
    assert_null(properties_find(&properties, "debug"));
}

static void no_file_is_no_properties(void **state)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(properties_load(&properties, "", &err));
    assert_int_equal(properties.n, 0);
}

static void a_bad_line_is_named_by_its_number_and_never_shown(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "a=b\nhunter2\n", "line 2 is not property=value" },
        { "Hunter2 x=y\n", "line 1 does not begin with a property's name" },
        { "=hunter2\n", "line 1 does not begin with a property's name" },
        { "\n\ntransactional.id=hunter2\n", "line 3: transactional.id cannot be set here" },
        { "enable.auto.commit=hunter2\n", "line 1: enable.auto.commit must be false here: the" },
        { "enable.auto.commit=true\n", "line 1: enable.auto.commit must be false here: the" },
        { "auto.offset.reset=latest\n", "line 1: auto.offset.reset must be earliest here: the" },
        { "acks=1\n", "line 1: acks must be all here: the" },
        { "topic.acks=0\n", "line 1: acks must be all here: the" },
        { "enable.idempotence=\n", "line 1: enable.idempotence must be true here: the" },
        { "enable.idempotence=tr\n", "line 1: enable.idempotence must be true here: the" },
        { "batch.num.messages=10\n", "line 1: batch.num.messages must be 1 here: the" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct properties properties = PROPERTIES_INIT;
        struct error err = ERROR_INIT;

        assert_false(load(cases[i].text, &properties, &err));
        assert_non_null(strstr(err.text, cases[i].says));
        assert_non_null(strstr(err.text, path));
        assert_null(strcasestr(err.text, "hunter2"));
    }
}

static void a_file_that_is_not_there_is_named(void **state)
{
    struct properties properties = PROPERTIES_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(properties_load(&properties, "/nonexistent/kafka.properties", &err));
    assert_non_null(strstr(err.text, "/nonexistent/kafka.properties"));
    assert_non_null(strstr(err.text, "KAFKA_CONFIG_FILE"));
}

static void a_file_of_more_than_64_kib_is_refused_and_one_of_just_so_many_is_read(void **state)
{
    enum { MOST = 65536 };
    char *text = malloc(MOST + 2);

    (void)state;
    assert_non_null(text);
    memset(text, '#', MOST + 1);
    for (size_t n = MOST; n <= MOST + 1; n++) {
        struct properties properties = PROPERTIES_INIT;
        struct error err = ERROR_INIT;

        text[n] = '\0';
        assert_int_equal(load(text, &properties, &err), n == MOST);
        assert_int_equal(strstr(err.text, "is longer than 65536 bytes") != NULL, n > MOST);
        properties_release(&properties);
        text[n] = '#';
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read_as_they_are),
        cmocka_unit_test(no_file_is_no_properties),
        cmocka_unit_test(a_bad_line_is_named_by_its_number_and_never_shown),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(a_file_of_more_than_64_kib_is_refused_and_one_of_just_so_many_is_read),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
