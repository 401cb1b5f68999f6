#ifndef WORKER_STORE_LEAVERS_H
#define WORKER_STORE_LEAVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"

/*
 * Leavers: addresses of the ledger that no member has any more.
 *
 * A pass over the members marks them with its run and epoch; only the marks of the pass with
 * which planning ended count. Each write is one statement and one commit, fenced by the take's
 * id (fence.h; ERROR_LOST where the run is no longer ours).
 */
struct leavers {
    struct strbuf addresses; /* an array of PostgreSQL's in the making */
    size_t n;
};

/* Fill with add, which never fails by itself: what writes them reports missing memory. */
void leavers_init(struct leavers *leavers);
void leavers_release(struct leavers *leavers);
void leavers_clear(struct leavers *leavers); /* keeps the memory */
void leavers_add(struct leavers *leavers, const char *address, size_t len);

/* Marks them with this pass, and empties the collection. */
bool leavers_mark(struct db *db, const struct run_task *task, struct leavers *leavers,
                  struct error *err) MUST_USE;

/* Forgets them: they were never on the list. Empties the collection. */
bool leavers_forget(struct db *db, const struct run_task *task, struct leavers *leavers,
                    struct error *err) MUST_USE;

/* ---- taking them off the list ---- */

struct leaver {
    char *address;
    bool found; /* by Klaviyo */
    bool kept;  /* Klaviyo refused it: it stays, and is tried again by the next run */
};

/* Some of them, in the order of their addresses. Owns them; zeroes are none. */
struct leaver_chunk {
    struct leaver *items;
    size_t n;
};

/* Frees the leavers with their addresses; there are none then. */
void leaver_chunk_release(struct leaver_chunk *chunk);

enum list_claim {
    LIST_CLAIM_BUSY,   /* another run is sending to the list, or takes people off it */
    LIST_CLAIM_ALONE,  /* it is ours as long as this take lasts; no other export has this list */
    LIST_CLAIM_SHARED, /* the same, and other exports have it, too */
};

/*
 * Claims the export's list. Says first that this run sends nothing to it any more, so that of
 * two runs that wait for each other one continues.
 */
bool leavers_claim_list(struct db *db, const struct run_task *task, enum list_claim *claim,
                        struct error *err) MUST_USE;

/* Of the marked ones, in the order of their addresses: behind `after` (NULL: all), max at most. */
struct leavers_window {
    const char *after;
    int64_t max;
};

struct leavers_released {
    char *last; /* that was looked at, the caller's to free; NULL: there was none */
    int64_t n;  /* how many were released */
};

/* Forgets those that another export has on the same list: they stay there. */
bool leavers_release_held(struct db *db, const struct run_task *task,
                          const struct leavers_window *window, struct leavers_released *released,
                          struct error *err) MUST_USE;

/*
 * The next ones. From now on they count as perhaps gone from the list: a member who comes back is
 * sent with the list. *chunk is the caller's to release.
 */
bool leavers_fetch(struct db *db, const struct run_task *task, const struct leavers_window *window,
                   struct leaver_chunk *chunk, struct error *err) MUST_USE;

/*
 * The last word before they are taken off: the run is this take's still, and with it the claim.
 * A run that was ended meanwhile may have been followed by one that puts people there.
 */
bool leavers_begin_removal(struct db *db, const struct run_task *task, struct error *err) MUST_USE;

/* They are off the list: forgets those that are not kept, and counts them as removed. */
bool leavers_removed(struct db *db, const struct run_task *task, const struct leaver_chunk *chunk,
                     struct error *err) MUST_USE;

#endif
