#ifndef WORKER_OUTCOME_OUTCOME_SENDER_H
#define WORKER_OUTCOME_OUTCOME_SENDER_H

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/metrics/service_metrics.h"
#include "worker/settings/settings.h"

/*
 * Sends outcomes of ended runs to KAFKA_OUTCOME_TOPIC: a thread that owns one
 * connection to the database and one idempotent producer. It claims rows, hands
 * them to the producer, and records the broker's answer: at least once, as a worker
 * that dies between the two leaves its rows to the next. It is woken by the end of
 * any worker's run, else looks once a second.
 *
 * Nothing waits for it: while the broker is unreachable rows stay in the table, where they
 * are bounded by RETENTION_DAYS. What it holds in memory is bounded, too.
 */
struct outcome_sender;

/*
 * Settings (with an outcome topic) and metrics outlive it. ERROR_FATAL: no client of
 * Kafka can be made with the settings, or there is no thread. A server that is out of
 * reach is no error.
 */
struct outcome_sender *outcome_sender_start(const struct settings *settings,
                                            struct service_metrics *metrics, struct error *err)
    MUST_USE;

/*
 * Sends what ended last, if broker and database answer within two seconds, and
 * returns its claims; then waits for the thread. NULL is accepted.
 */
void outcome_sender_free(struct outcome_sender *sender);

#endif
