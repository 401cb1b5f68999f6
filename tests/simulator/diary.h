#ifndef SIMULATOR_DIARY_H
#define SIMULATOR_DIARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"

/*
 * The diary: one entry for every request that came under /api, in the order in
 * which they were dealt with. It holds the newest `max` entries.
 */
struct diary_entry {
    uint64_t seq; /* from 1; given by diary_add() */
    int64_t at_us, done_us;
    char method[16];
    char *path; /* with the query, as sent */
    const char *endpoint;
    char account[64];
    char key_hint[8]; /* the last four characters */
    int status;       /* 0: the connection was reset without an answer */
    int retry_after;  /* seconds; -1: none */
    int64_t profiles; /* rows of an import; -1: not one */
    size_t bytes;     /* of the body */
    char job[192];
    char list[64];
    char revision[32];
    char *user_agent, *traceparent; /* NULL: not sent */
    bool early;                     /* before a promised Retry-After was over */
    int64_t since_promise_us;       /* how long after the promise; -1: none was open */
    unsigned fault;                 /* 0: none */
    bool forbidden;
    char sha256[65]; /* of an import's body; "" else */
    char *body;      /* kept only on request */
};

struct diary {
    struct diary_entry *ring;
    size_t cap, first, n;
    size_t max;
    uint64_t last_seq;
};

/* Takes the entry's texts; its number. */
uint64_t diary_add(struct diary *diary, struct diary_entry *entry);

/* NULL if there is none. Lent until the next diary_ call. */
const struct diary_entry *diary_find(const struct diary *diary, uint64_t seq);

/* {"entries":[…],"next":SEQ}: at most `limit` entries after seq; the caller owns the result. */
json_t *diary_json(const struct diary *diary, uint64_t after, size_t limit) MUST_USE;

/* Forgets the entries; numbers go on. */
void diary_clear(struct diary *diary);
void diary_release(struct diary *diary);

#endif
