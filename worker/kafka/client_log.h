#ifndef WORKER_KAFKA_CLIENT_LOG_H
#define WORKER_KAFKA_CLIENT_LOG_H

#include <librdkafka/rdkafka.h>

/*
 * Private to this folder: librdkafka's own lines in our log, as event
 * kafka_client. What our events say better, or what is expected, is logged for
 * debugging only.
 *
 * A log callback of librdkafka: called on its threads as well as on ours.
 */
void client_log_write(const rd_kafka_t *handle, int level, const char *facility, const char *text);

#endif
