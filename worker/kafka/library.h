#ifndef WORKER_KAFKA_LIBRARY_H
#define WORKER_KAFKA_LIBRARY_H

/* "2.0.2", of librdkafka in use. */
const char *kafka_library_version(void);

#endif
