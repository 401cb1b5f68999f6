#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/store/database_url.h"
#include "worker/store/db_connect.h"
#include "worker/store/statement.h"

static void what_libpq_takes_is_taken(void **state)
{
    static const char *const good[] = {
        "",
        "postgresql://",
        "postgresql://host/db",
        "postgres://user@host:5432/db",
        "postgresql://user:p%40ss%2Fword@host:5432/db?sslmode=verify-full",
        "postgresql://user@[::1]:5432/db",
        "postgresql://user:a?b@host/db",
        "postgresql://a,b:5433/db?target_session_attrs=read-write",
        "postgresql:///db?host=/run/postgresql&user=me@site",
        "host=localhost port=5432 dbname=db user=u password='p @ / s'",
        "host=a,b port=1,2",
        "service=prod",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct error err = ERROR_INIT;
        if (!database_url_check(good[i], &err))
            fail_msg("%s: %s", good[i], err.text);
    }
}

static void each_mistake_is_named_by_its_kind(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "\xef\xbb\xbfpostgresql://h/d", "byte order mark" },
        { "\xff\xfep\0o", "byte order mark" },
        { "'postgresql://h/d'", "in quotes" },
        { "\"host=h\"", "in quotes" },
        { "DATABASE_URL=postgresql://h/d", "name of the setting" },
        { "export DATABASE_URL=x", "name of the setting" },
        { "jdbc:postgresql://h/d", "begins with jdbc:" },
        { "JDBC:postgresql:d", "begins with jdbc:" },
        { "postgresql+asyncpg://h/d", "begins with postgresql+asyncpg:" },
        { "mysql://h/d", "begins with mysql:" },
        { "hunter2://h/d", "another scheme" },
        { "POSTGRESQL://h/d", "lower-case" },
        { "postgresql://u:a/b@h/d", "percent-encoded" },
        { "postgresql://u:a@b@h/d", "percent-encoded" },
        { "postgresql://u:a%zz@h/d", "percent-encoded" },
        { "postgresql://u:a?b@c@h/d", "percent-encoded" },
        { "postgresql://u:secret", "port" },
        { "postgresql://h:0/d", "port" },
        { "host=h port=70000", "port" },
        { "host=h,i port=1,x", "port" },
        { "host=h sslmode=on", "sslmode" },
        { "host=h password='x", "not a connection string" },
        { "just-a-word", "not a connection string" },
        { "host=h pasword=x", "not a connection string" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;
        if (database_url_check(cases[i].text, &err))
            fail_msg("%s was taken", cases[i].text);
        assert_int_equal(err.kind, ERROR_INPUT);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s: %s", cases[i].text, err.text);
    }
}

/* Six characters that stand in no message, between any two marks: no two of them in a row. */
static void no_part_of_a_text_is_in_what_is_said_about_it(void **state)
{
    static const char marks[] = "/@?#%:& ='\\[]+;,!\t";
    static const char *const frames[] = {
        "postgresql://%s@host/db",
        "postgresql://user:%s@host/db",
        "host=h password=%s",
        "postgresql://user:%s",
        "jdbc:%s",
        "%s",
        "postgresql://h/%s",
        "host=h sslmode=%s",
        "postgresql://h:%s/d",
    };

    (void)state;
    srand(1);
    for (int n = 0; n < 20000; n++) {
        struct error err = ERROR_INIT;
        char secret[32], text[128];
        (void)snprintf(secret, sizeof secret, "XQ%cZJ%cQX", marks[rand() % 18], marks[rand() % 18]);
        const char *frame = frames[rand() % 9];
        const char *hole = strstr(frame, "%s");
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - frame), frame, secret, hole + 2);
        if (database_url_check(text, &err))
            continue;
        if (strstr(err.text, "XQ") || strstr(err.text, "ZJ") || strstr(err.text, "QX"))
            fail_msg("%s: %s", text, err.text);
    }
}

static void a_refusal_is_told_by_its_sqlstate_whatever_the_language(void **state)
{
    static const struct {
        const char *libpq;
        enum error_kind kind;
        const char *words;
    } cases[] = {
        { "connection to server at \"h\", port 1 failed: FATAL:  28P01\n", ERROR_INPUT,
          "password" },
        { "connection to server at \"h\", port 1 failed: FATALE:  3D000\n", ERROR_INPUT,
          "no such database" },
        { "connection to server at \"h\", port 1 failed: FATAL:  57P03\n", ERROR_RETRY,
          "starting" },
        { "connection to server at \"h\", port 1 failed: FATAL:  53300\n", ERROR_RETRY,
          "no connection free" },
        { "connection to server at \"h\", port 1 failed: FATAL:  XX000\n", ERROR_RETRY, "XX000" },
        { "connection to server at \"h\", port 1 failed: Connection refused\n\tIs the server\n",
          ERROR_RETRY, "nothing listens" },
        { "connection to server at \"::1\", port 1 failed: could not create socket: Too many open "
          "files\n",
          ERROR_RETRY, "no descriptor free" },
        { "out of memory\n", ERROR_RETRY, "out of memory" },
        { "could not translate host name \"secret\" to address: x\n", ERROR_RETRY, "resolved" },
        { "invalid integer value \"secret\" for connection option \"keepalives\"\n", ERROR_RETRY,
          "no connection" },
        { "", ERROR_RETRY, "no connection" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;
        db_connect_describe(cases[i].libpq, &err);
        assert_int_equal(err.kind, cases[i].kind);
        if (!strstr(err.text, cases[i].words) || strstr(err.text, "secret"))
            fail_msg("%s: %s", cases[i].libpq, err.text);
    }
}

static void time_outs_of_the_site_are_worth_another_try(void **state)
{
    static const char *const transient[] = { "08006", "25006", "25P03", "25P04", "40001", "40P01",
                                             "53200", "55P03", "57014", "57P01", "57P05", "58030" };
    static const char *const lasting[] = { "22P02", "23505", "25P02", "42501", "42P01", "XX000" };

    (void)state;
    for (size_t i = 0; i < sizeof transient / sizeof transient[0]; i++)
        assert_true(db_is_transient(transient[i]));
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++)
        assert_false(db_is_transient(lasting[i]));
}

static char failed_state[8], failed_source[16]; /* empty: there is none */

/* The test's own in place of libpq's, which makes no failed result. */
char *__wrap_PQresultErrorField(const PGresult *rows, int field);

char *__wrap_PQresultErrorField(const PGresult *rows, int field)
{
    char *text = field == PG_DIAG_SQLSTATE ? failed_state : failed_source;

    (void)rows;
    return *text ? text : NULL;
}

struct failure {
    const char *state, *source;
    enum error_kind kind;
};

static void check_kinds(const struct failure *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct error err = ERROR_INIT;
        (void)snprintf(failed_state, sizeof failed_state, "%s", cases[i].state);
        (void)snprintf(failed_source, sizeof failed_source, "%s", cases[i].source);
        assert_false(db_failure_without_words(NULL, "no", &err));
        assert_int_equal(err.kind, cases[i].kind);
    }
}

static void a_server_that_cannot_use_its_files_is_worth_another_try(void **state)
{
    static const struct failure cases[] = {
        { "42501", "md.c", ERROR_RETRY },      { "42501", "fd.c", ERROR_RETRY },
        { "42501", "slru.c", ERROR_RETRY },    { "XX000", "fd.c", ERROR_RETRY },
        { "42501", "", ERROR_INPUT },          { "42501", "aclchk.c", ERROR_INPUT },
        { "XX000", "pl_exec.c", ERROR_INPUT }, { "22023", "fd.c", ERROR_INPUT },
    };

    (void)state;
    check_kinds(cases, sizeof cases / sizeof cases[0]);
}

/* Which refuses already the transaction that is to write, from where settings are judged. */
static void a_standby_is_worth_another_try(void **state)
{
    static const struct failure cases[] = {
        { "25006", "", ERROR_RETRY },      { "0A000", "guc.c", ERROR_RETRY },
        { "0A000", "", ERROR_INPUT },      { "0A000", "analyze.c", ERROR_INPUT },
        { "22023", "guc.c", ERROR_INPUT },
    };

    (void)state;
    check_kinds(cases, sizeof cases / sizeof cases[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_libpq_takes_is_taken),
        cmocka_unit_test(each_mistake_is_named_by_its_kind),
        cmocka_unit_test(no_part_of_a_text_is_in_what_is_said_about_it),
        cmocka_unit_test(a_refusal_is_told_by_its_sqlstate_whatever_the_language),
        cmocka_unit_test(time_outs_of_the_site_are_worth_another_try),
        cmocka_unit_test(a_server_that_cannot_use_its_files_is_worth_another_try),
        cmocka_unit_test(a_standby_is_worth_another_try),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
