#ifndef WORKER_KAFKA_FAILURE_H
#define WORKER_KAFKA_FAILURE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/error.h"

/*
 * Private to this folder: what librdkafka's error codes mean to us.
 */

/* What a person can do about an error; NULL where the code says it all. */
const char *kafka_failure_hint(rd_kafka_t *handle, rd_kafka_resp_err_t code);

/* Brokers out of reach, elections, rebalances: librdkafka tries again and nobody need do anything.
 */
bool kafka_failure_passes(rd_kafka_resp_err_t code);

/* "what: why: hint", of kind RETRY where the error passes and INPUT where it does not. */
bool kafka_failure(struct error *err, rd_kafka_t *handle, rd_kafka_resp_err_t code,
                   const char *what);

#endif
