#ifndef WORKER_STORE_KEY_PAIRS_H
#define WORKER_STORE_KEY_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/seal.h"
#include "worker/store/db.h"

/*
 * Public halves of the pairs that seal API keys. The newest one seals; what
 * earlier ones sealed can only be opened with their own private half.
 */
struct key_pair {
    int64_t key_pair_id; /* 0: there is none */
    unsigned char public_key[SEAL_KEY_BYTES];
};

/* *pair is written on success only. Errors as in db.h. */
bool key_pairs_newest(struct db *db, struct key_pair *pair, struct error *err) MUST_USE;

/*
 * Makes this the newest pair. ERROR_INPUT where there is one already, unless
 * replace: then every connection whose key an earlier pair sealed is marked as
 * needing attention. *marked: their names, separated by commas; NULL: none. The
 * caller's.
 */
bool key_pairs_add(struct db *db, const unsigned char *public_key, bool replace, char **marked,
                   struct error *err) MUST_USE;

/*
 * How many runs wait for a worker with another key pair than this one's, queued or
 * to be continued; not those of connections that need attention, which end without
 * a key. People then see at the runs that they wait, and for what.
 */
bool key_pairs_note_waiting(struct db *db, int64_t key_pair_id, const char *worker, int64_t *runs,
                            struct error *err) MUST_USE;

#endif
