#include "worker/service/blocked_runs.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/store/events.h"
#include "worker/store/runs.h"

enum {
    CHECK_EVERY_MS = 2000,
    REPEAT_MS = 30000, /* how often the holder is named */
};

static void name_holder(struct blocked_runs *blocked, struct db *db, int64_t runs)
{
    struct lock_holder holder = { .pid = 0 };
    struct error err = ERROR_INIT;

    blocked->run_metrics->runs_blocked++;
    blocked->control->run_blocked_ms = clock_ms();
    if (blocked->logged_ms > 0 && clock_ms() - blocked->logged_ms < REPEAT_MS)
        return;
    blocked->logged_ms = clock_ms();
    (void)!events_lock_holder(db, &holder, &err);
    log_warn("runs_blocked", LOG_INT("runs", runs), LOG_INT("pid", holder.pid),
             LOG_STR("user", holder.user), LOG_STR("application", holder.application));
}

void blocked_runs_take_failed(struct blocked_runs *blocked, struct db *db)
{
    name_holder(blocked, db, 0);
}

void blocked_runs_poll(struct blocked_runs *blocked, struct db *db, int64_t key_pair_id)
{
    struct error err = ERROR_INIT;
    int64_t runs = 0;

    if (!db || clock_ms() < blocked->check_ms)
        return;
    blocked->check_ms = clock_ms() + CHECK_EVERY_MS;
    if (!runs_count_blocked(db, key_pair_id, &runs, &err)) {
        log_warn("take_failed", LOG_ERROR_OF(&err));
        return;
    }
    if (runs > 0 && blocked->seen)
        name_holder(blocked, db, runs);
    blocked->seen = runs > 0;
}
