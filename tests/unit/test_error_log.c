#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/ingest/error_log.h"

static const int64_t MINUTE_MS = 60000;

static void an_error_is_news_once_a_minute(void **state)
{
    struct error_log log = { 0 };
    int64_t now_ms = 1000;

    (void)state;
    assert_true(error_log_is_news(&log, "_TRANSPORT", now_ms));
    assert_true(error_log_is_news(&log, "_RESOLVE", now_ms));
    assert_false(error_log_is_news(&log, "_TRANSPORT", now_ms + MINUTE_MS - 1));
    assert_true(error_log_is_news(&log, "_TRANSPORT", now_ms + MINUTE_MS));
    assert_false(error_log_is_news(&log, "_TRANSPORT", now_ms + 2 * MINUTE_MS - 1));
}

/* The eight that came last are remembered, and the oldest gives way. */
static void of_more_errors_the_oldest_is_forgotten(void **state)
{
    static const char *const codes[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    struct error_log log = { 0 };

    (void)state;
    for (int i = 0; i < ERRORS_REMEMBERED; i++)
        assert_true(error_log_is_news(&log, codes[i], i == 2 ? 1 : 100 + i));
    assert_true(error_log_is_news(&log, "i", 200)); /* in the place of c */
    for (int i = 0; i < ERRORS_REMEMBERED; i++)
        if (i != 2)
            assert_false(error_log_is_news(&log, codes[i], 300));
    assert_true(error_log_is_news(&log, "c", 300)); /* in the place of a */
    assert_true(error_log_is_news(&log, "a", 300));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_news_once_a_minute),
        cmocka_unit_test(of_more_errors_the_oldest_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
