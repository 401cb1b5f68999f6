#ifndef WORKER_STORE_CONNECTIONS_H
#define WORKER_STORE_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Connections: accounts of Klaviyo, who may use them, and their sealed keys.
 * What a user may not see is treated as missing: errors are the same for both.
 */
struct sealed_key {
    int64_t key_pair_id;
    unsigned char *bytes; /* owned: sealed_key_release() */
    size_t len;
};

#define SEALED_KEY_INIT ((struct sealed_key){ .bytes = NULL })

/* Frees the bytes. Accepts SEALED_KEY_INIT. */
void sealed_key_release(struct sealed_key *key);

/* The error for one that is not there, or not to be seen, with the nearest that is; false. */
bool connections_missing(struct db *db, const char *name, struct error *err);

struct connection_draft {
    const char *name;
    int consent_version;
    const char *account_id; /* NULL: not asked */
    const char *account_name;
    const struct sealed_key *key;
};

/* ERROR_INPUT: the name is taken, or the user may not; nothing is written then. */
bool connections_add(struct db *db, const struct connection_draft *draft, struct error *err)
    MUST_USE;

/* A new key of the same account; what was wrong with the old one is forgotten. */
bool connections_rotate(struct db *db, const struct connection_draft *draft, struct error *err)
    MUST_USE;

/* Refused while exports hang on it, with their names. */
bool connections_remove(struct db *db, const char *name, struct error *err) MUST_USE;

/* share: percent of the account's limits. *changed: false where it was so before. */
bool connections_change_share(struct db *db, const char *name, int64_t share, bool *changed,
                              struct error *err) MUST_USE;

/* What Klaviyo said of its key. */
struct connection_findings {
    const char *account_id; /* NULL: the key may not read the account */
    const char *account_name;
    const char *scopes; /* that were seen to work, separated by blanks */
};

/*
 * Before anything is asked of the account. ERROR_INPUT where the connection is of
 * another one, and needs attention now, or has got another key meanwhile.
 */
bool connections_fits(struct db *db, const char *name, const struct sealed_key *key,
                      const char *account_id, struct error *err) MUST_USE;

/*
 * Stored, and no attention is needed any more. ERROR_INPUT as above: then nothing
 * is stored; and where the key is sealed for a pair that has been replaced, for
 * which the attention stays.
 */
bool connections_verified(struct db *db, const char *name, const struct sealed_key *key,
                          const struct connection_findings *findings, struct error *err) MUST_USE;

/* Klaviyo has refused this key of it. */
bool connections_refused(struct db *db, const char *name, const struct sealed_key *key,
                         const char *reason, struct error *err) MUST_USE;

/* The account whose rate limit counts, as the workers call it; the caller's. */
bool connections_account(struct db *db, const char *name, char **account, struct error *err)
    MUST_USE;

/* What `verify` opens: only members of klaviyo_worker may read it. */
bool connections_key(struct db *db, const char *name, struct sealed_key *key, struct error *err)
    MUST_USE;

/* Roles that may use it in addition to klaviyo_admin. */
bool connections_grant(struct db *db, const char *name, const char *role, struct error *err)
    MUST_USE;

/* *paused: names of the exports that pause because of it; NULL: none. The caller's. */
bool connections_revoke(struct db *db, const char *name, const char *role, char **paused,
                        struct error *err) MUST_USE;

#endif
