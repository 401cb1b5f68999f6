#ifndef WORKER_STORE_LEAVERS_H
#define WORKER_STORE_LEAVERS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"

/*
 * Leavers: addresses of the ledger that no member has any more.
 *
 * A pass over the members marks them with its run and epoch; only the marks of the pass with
 * which planning ended count. Each write is one statement and one commit, fenced by the run's
 * epoch (ERROR_LOST where it is no longer ours).
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

#endif
