#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/kafka/failure.h"

/* While brokers start, move or are away; what somebody must mend does not pass. */
static void what_passes_is_tried_again_and_nothing_else(void **state)
{
    static const struct {
        rd_kafka_resp_err_t code;
        bool passes;
    } cases[] = {
        { RD_KAFKA_RESP_ERR__TRANSPORT, true },
        { RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, true },
        { RD_KAFKA_RESP_ERR__RESOLVE, true },
        { RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, true },
        { RD_KAFKA_RESP_ERR__QUEUE_FULL, true },
        { RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, true },
        { RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, true },
        { RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true },
        { RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, true },
        { RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true },
        { RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, true },
        { RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, true },
        { RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, true },
        { RD_KAFKA_RESP_ERR__FATAL, false },
        { RD_KAFKA_RESP_ERR__SSL, false },
        { RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, false },
        { RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, false },
        { RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, false },
        { RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;

        print_message("%s\n", rd_kafka_err2name(cases[i].code));
        assert_int_equal(kafka_failure_passes(cases[i].code), cases[i].passes);
        assert_false(kafka_failure(&err, NULL, cases[i].code, "writing"));
        assert_int_equal(err.kind, cases[i].passes ? ERROR_RETRY : ERROR_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_passes_is_tried_again_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
