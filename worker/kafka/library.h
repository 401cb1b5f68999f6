#ifndef WORKER_KAFKA_LIBRARY_H
#define WORKER_KAFKA_LIBRARY_H

/* "2.0.2", of librdkafka in use. */
const char *kafka_library_version(void);

/*
 * The last call of main(). Ends the process with that status at once where a
 * client had to be left behind, since its threads still use what exit() takes
 * down; else it returns.
 */
void kafka_library_end(int status);

#endif
