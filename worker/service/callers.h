#ifndef WORKER_SERVICE_CALLERS_H
#define WORKER_SERVICE_CALLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/cleanup.h"

/*
 * Who is connected to the endpoints, and for how long they may stay.
 *
 * A caller has one deadline for its whole connection, whatever it sends or
 * does not send. An address may hold its share of the places, and all together
 * CALLERS_CROWD of them; beyond that those go, the oldest first, who have had
 * their answer, and those who have been here for CALLERS_GRACE_MS without
 * asking a whole question. Who comes while all places are taken waits in the
 * backlog of the listening socket, for about that time; so slow ones keep
 * nobody out, and many who come at once are all served.
 *
 * A caller is cut off by shutting its socket down, which the server notices.
 */
enum {
    CALLERS_MAX = 512,
    CALLERS_CROWD = 384,
    CALLERS_PER_ADDRESS = 128,
    CALLERS_GRACE_MS = 250,
    CALLERS_LOOK_MS = 50, /* between looks at a crowd */
    CALLERS_LIFETIME_MS = 20 * 1000,
    CALLERS_LAST_ANSWER_MS = 10 * 1000, /* so old, and the next answer is the last one */
};

struct caller {
    struct caller *earlier, *later;
    int fd;
    unsigned char address[18]; /* family and bytes */
    int64_t since_ms;
    bool answered; /* and nothing asked since */
    bool cut;
    int64_t waiting_ms; /* since when its answer waits for something; 0: it does not */
    bool waited;        /* the answer to its present question has waited */
    void *connection;   /* the server's */
};

struct callers {
    struct caller *first, *last; /* in the order in which they came */
    size_t n;
    int64_t looked_ms;             /* at the crowd */
    int64_t cut_late, cut_crowded; /* totals */
};

/* NULL: out of memory. */
struct caller *callers_add(struct callers *callers, int fd, const struct sockaddr *address,
                           int64_t now_ms) MUST_USE;

/* Frees the caller. */
void callers_remove(struct callers *callers, struct caller *caller);

/* Cuts off those who have to go. */
void callers_mind(struct callers *callers, int64_t now_ms);

/* When to mind them again; INT64_MAX: there is nobody. */
int64_t callers_next_ms(const struct callers *callers);

/* Its next answer should be its last. */
bool callers_should_go(const struct callers *callers, const struct caller *caller, int64_t now_ms);

#endif
