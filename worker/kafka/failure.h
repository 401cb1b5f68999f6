#ifndef WORKER_KAFKA_FAILURE_H
#define WORKER_KAFKA_FAILURE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/error.h"

/*
 * Private to this folder: what librdkafka's error codes mean to us.
 */

/* What a person can do about an error; NULL if the code is enough. */
const char *kafka_failure_hint(rd_kafka_t *handle, rd_kafka_resp_err_t code);

/* Brokers out of reach, elections, rebalances: librdkafka tries again and nobody need do anything.
 */
bool kafka_failure_passes(rd_kafka_resp_err_t code);

/* "what: why: hint", of kind RETRY where the error passes and INPUT where it does not. */
bool kafka_failure(struct error *err, rd_kafka_t *handle, rd_kafka_resp_err_t code,
                   const char *what);

/* The same for a caller that needs one known right ("Read on KAFKA_TOPIC"). */
bool kafka_failure_right(struct error *err, rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         const char *what, const char *right);

/*
 * What a handle's error callback reported last: it knows why a call "timed out", or failed
 * as "malformed" because no broker answered.
 */
struct kafka_last_error {
    rd_kafka_resp_err_t code; /* 0: nothing */
};

/*
 * For kafka_handle_callbacks.error; last_error is the opaque of the handle, a
 * struct kafka_last_error.
 */
void kafka_last_error_note(rd_kafka_t *handle, int code, const char *reason, void *last_error);

/* Serves the callback; returns the code that says the most about a failed call. */
rd_kafka_resp_err_t kafka_last_error_cause(const struct kafka_last_error *last, rd_kafka_t *handle,
                                           rd_kafka_resp_err_t code);

#endif
