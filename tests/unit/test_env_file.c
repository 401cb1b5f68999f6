#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/settings/env_file.h"

static char folder[] = "/tmp/test_env_file.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void forget(const char *name)
{
    (void)unsetenv(name);
}

static const struct {
    const char *text;
    const char *value; /* of X */
} values[] = {
    { "X=plain", "plain" },
    { "X=plain\n", "plain" },
    { "# X=no\n; X=no\n\n  X = no\n", NULL },
    { "  X=a b  \n", "a b" },
    { "X=\n", "" },
    { "X=a=b#c", "a=b#c" },
    { "X=\"a  b\" \n", "a  b" },
    { "X='it''s \\ $Y'\n", "its \\ $Y" },
    { "X=\"say \\\"hi\\\" \\$Y\"\n", "say \"hi\" $Y" },
    { "X=a\\ \n", "a " },
    { "X=one \\\ntwo\n", "one two" },
    { "X=\"two\nlines\"\n", "two\nlines" },
    { "X=first\nX=second\n", "first" },
    { "X=crlf\r\nY=z\r\n", "crlf" },
    { "X=postgresql://u:p%40@h/d?sslmode=require", "postgresql://u:p%40@h/d?sslmode=require" },
};

static void values_are_read_as_systemd_reads_them(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        forget("X");
        put("one.env", values[i].text);
        bool ok = env_file_load(path_of("one.env"), &err);
        print_message("%s\n", values[i].text);
        assert_int_equal(ok, values[i].value != NULL);
        if (ok)
            assert_string_equal(getenv("X"), values[i].value);
    }
}

static void a_variable_that_is_set_counts(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(setenv("X", "by hand", 1), 0);
    put("one.env", "X=by file\n");
    assert_true(env_file_load(path_of("one.env"), &err));
    assert_string_equal(getenv("X"), "by hand");
}

static void what_is_wrong_is_named_by_its_line_and_not_shown(void **state)
{
    static const char *const wrong[] = { "A=b\nsesame\n", "A=b\n9X=sesame\n", "A=b\n=sesame",
                                         "A=b\nX=\"sesame\n", "A=b\nexport X=sesame\n" };
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put("one.env", wrong[i]);
        assert_false(env_file_load(path_of("one.env"), &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_non_null(strstr(err.text, "one.env, line "));
        assert_null(strstr(err.text, "sesame"));
    }
    assert_false(env_file_load(path_of("none.env"), &err));
    assert_false(env_file_load(folder, &err));
}

static void a_folder_of_the_package_says_what_no_variable_says(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(env_folder_load("/nowhere", &err));
    assert_null(getenv("MAX_RUNS_OF_TEST"));
    put("klaviyo-worker.env", "MAX_RUNS_OF_TEST=7\n");
    put("database-url", "postgresql://h/d");
    put("kafka.properties", "");
    assert_int_equal(setenv("PGHOST", "elsewhere", 1), 0);
    forget("DATABASE_URL");
    forget("DATABASE_URL_FILE");
    forget("SECRET_KEY_FILE");
    forget("KAFKA_CONFIG_FILE");
    assert_true(env_folder_load(folder, &err));
    assert_string_equal(getenv("MAX_RUNS_OF_TEST"), "7");
    assert_null(getenv("DATABASE_URL_FILE"));
    assert_null(getenv("SECRET_KEY_FILE"));
    assert_string_equal(getenv("KAFKA_CONFIG_FILE"), path_of("kafka.properties"));
    forget("PGHOST");
    forget("PGHOSTADDR");
    forget("PGDATABASE");
    forget("PGSERVICE");
    assert_true(env_folder_load(folder, &err));
    assert_string_equal(getenv("DATABASE_URL_FILE"), path_of("database-url"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_as_systemd_reads_them),
        cmocka_unit_test(a_variable_that_is_set_counts),
        cmocka_unit_test(what_is_wrong_is_named_by_its_line_and_not_shown),
        cmocka_unit_test(a_folder_of_the_package_says_what_no_variable_says),
    };

    return cmocka_run_group_tests(tests, make_folder, NULL);
}
