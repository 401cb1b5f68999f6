#include "worker/kafka/failure.h"

#include <stdio.h>
#include <string.h>

/* The first release that speaks SCRAM with Kafka 4 (upstream's release notes). */
enum { SCRAM_FIXED_VERSION = 0x020601ff };

static bool speaks_scram(rd_kafka_t *handle)
{
    char mechanism[32] = "";
    size_t n = sizeof mechanism;

    if (rd_kafka_conf_get(rd_kafka_conf(handle), "sasl.mechanisms", mechanism, &n) !=
        RD_KAFKA_CONF_OK)
        return false;
    return strncmp(mechanism, "SCRAM-", 6) == 0;
}

static const char *authentication_hint(rd_kafka_t *handle)
{
    if (speaks_scram(handle) && rd_kafka_version() < SCRAM_FIXED_VERSION)
        return "this librdkafka cannot log in with SCRAM to Kafka 4, whatever the password: use "
               "librdkafka 2.8 or newer (Debian 13, our container image), or SASL PLAIN over TLS; "
               "with an older Kafka, check user and password in KAFKA_CONFIG_FILE";
    return "check user, password and mechanism in KAFKA_CONFIG_FILE";
}

/* NOLINTNEXTLINE(readability-function-size): one line a code */
const char *kafka_failure_hint(rd_kafka_t *handle, rd_kafka_resp_err_t code)
{
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
        code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED)
        return authentication_hint(handle);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return "grant this user Describe and Read on KAFKA_TOPIC, and Describe and Write on "
               "KAFKA_DEAD_LETTER_TOPIC and KAFKA_OUTCOME_TOPIC";
    if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        return "grant this user Read on the group KAFKA_GROUP_ID";
    if (code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        return "grant this user Write on the topic (before Kafka 2.8 also IdempotentWrite on the "
               "cluster)";
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
        return "make the topic, or correct KAFKA_TOPIC, KAFKA_DEAD_LETTER_TOPIC or "
               "KAFKA_OUTCOME_TOPIC";
    if (code == RD_KAFKA_RESP_ERR__SSL)
        return "check security.protocol and the certificates in KAFKA_CONFIG_FILE";
    if (code == RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT)
        return "the broker bounds session.timeout.ms: set it in KAFKA_CONFIG_FILE";
    if (code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL)
        return "other members of this group assign partitions another way: use a KAFKA_GROUP_ID "
               "of its own";
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
        code == RD_KAFKA_RESP_ERR__RESOLVE || code == RD_KAFKA_RESP_ERR__TIMED_OUT)
        return "check KAFKA_BOOTSTRAP_SERVERS and the brokers";
    return NULL;
}

bool kafka_failure_passes(rd_kafka_resp_err_t code)
{
    static const rd_kafka_resp_err_t passing[] = {
        RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR__RESOLVE,
        RD_KAFKA_RESP_ERR__TIMED_OUT,
        RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
        RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
        RD_KAFKA_RESP_ERR__WAIT_COORD,
        RD_KAFKA_RESP_ERR__WAIT_CACHE,
        RD_KAFKA_RESP_ERR__QUEUE_FULL,
        RD_KAFKA_RESP_ERR__RETRY,
        RD_KAFKA_RESP_ERR__PURGE_QUEUE,
        RD_KAFKA_RESP_ERR__PURGE_INFLIGHT,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    };

    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (code == passing[i])
            return true;
    return false;
}

/* A passing error, or one without an answer of any broker. */
static bool is_vague(rd_kafka_resp_err_t code)
{
    return kafka_failure_passes(code) || code == RD_KAFKA_RESP_ERR__BAD_MSG;
}

static bool is_authorization(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

bool kafka_failure_right(struct error *err, rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         const char *what, const char *right)
{
    const char *hint = kafka_failure_hint(handle, code);
    char grant[128];

    if (right && is_authorization(code)) {
        (void)snprintf(grant, sizeof grant, "grant this user %s", right);
        hint = grant;
    }
    return error_set(err, kafka_failure_passes(code) ? ERROR_RETRY : ERROR_INPUT, "%s: %s (%s)%s%s",
                     what, rd_kafka_err2str(code), rd_kafka_err2name(code), hint ? ": " : "",
                     hint ? hint : "");
}

bool kafka_failure(struct error *err, rd_kafka_t *handle, rd_kafka_resp_err_t code,
                   const char *what)
{
    return kafka_failure_right(err, handle, code, what, NULL);
}

void kafka_last_error_note(rd_kafka_t *handle, int code, const char *reason, void *last_error)
{
    struct kafka_last_error *last = last_error;

    (void)handle;
    (void)reason;
    /* "All brokers down" follows from the first reason. */
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !last->code)
        last->code = code;
}

rd_kafka_resp_err_t kafka_last_error_cause(const struct kafka_last_error *last, rd_kafka_t *handle,
                                           rd_kafka_resp_err_t code)
{
    (void)rd_kafka_poll(handle, 0);
    return is_vague(code) && last->code ? last->code : code;
}
