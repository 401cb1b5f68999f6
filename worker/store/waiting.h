#ifndef WORKER_STORE_WAITING_H
#define WORKER_STORE_WAITING_H

/*
 * How long the process waits for its databases: once that is over, no connection of
 * the process waits for its server any more, and none is opened. Waiting calls
 * fail then as if the server had gone (ERROR_RETRY). For the end of the process: a
 * server that does not answer must not delay it.
 */

/* Over from now on, for good. Any thread. */
void waiting_end(void);

/* Readable once it is over; for poll() with a connection's socket. -1: it never is. */
int waiting_fd(void);

#endif
