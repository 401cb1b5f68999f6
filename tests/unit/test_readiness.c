#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/http/readiness.h"

enum { NOW = 10 * READINESS_CONNECTION_MS };

static void a_worker_is_ready_when_nothing_speaks_against_it(void **state)
{
    static const char no_database[] = "not ready: the database is not reached, or takes no writes";
    static const struct {
        bool draining, reached, subscribed;
        int64_t connected_ms;
        enum readiness readiness;
        const char *text;
    } cases[] = {
        { false, true, true, NOW, READINESS_READY, "ready" },
        { false, true, true, NOW - READINESS_CONNECTION_MS, READINESS_READY, "ready" },
        { false, true, true, NOW - READINESS_CONNECTION_MS - 1, READINESS_NO_CONNECTION,
          "not ready: for a minute the database has taken no new connection" },
        { false, true, false, NOW, READINESS_NOT_IN_GROUP, "not ready: not in the consumer group" },
        { false, false, true, NOW, READINESS_NO_DATABASE, no_database },
        { false, false, false, 0, READINESS_NO_DATABASE, no_database },
        { true, true, true, NOW, READINESS_STOPPING, "stopping" },
        { true, false, false, 0, READINESS_STOPPING, "stopping" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct service_metrics metrics;

        service_metrics_init(&metrics);
        metrics.draining = cases[i].draining;
        metrics.database_reached = cases[i].reached;
        metrics.subscribed = cases[i].subscribed;
        metrics.database_connected_ms = cases[i].connected_ms;
        assert_int_equal(readiness_judge(&metrics, NOW), cases[i].readiness);
        assert_string_equal(readiness_text(cases[i].readiness), cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_is_ready_when_nothing_speaks_against_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
