#include "worker/service/housekeeping.h"

#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/wakeup.h"
#include "worker/store/outcomes.h"
#include "worker/store/retention.h"

enum {
    EVERY_MS = 30 * 1000, /* plus or minus a quarter, so that workers do not coincide */
    FIRST_MS = 1000,
    RETENTION_EVERY_MS = 600 * 1000,
};

struct housekeeping {
    const struct settings *settings;
    pthread_t thread;
    int stop_fd;
    int64_t retention_ms; /* when old rows are to be looked for */
};

/* False: it is to stop. */
static bool rest(const struct housekeeping *h, int64_t ms)
{
    struct pollfd fd = { .fd = h->stop_fd, .events = POLLIN };

    (void)poll(&fd, 1, (int)ms);
    return fd.revents == 0;
}

static void settle(struct db *db)
{
    struct error err = ERROR_INIT;
    int64_t settled = 0;

    if (!retention_settle_missed(db, &settled, &err))
        log_warn("settle_failed", LOG_ERROR_OF(&err));
    else if (settled > 0)
        log_warn("missed_ends_settled", LOG_INT("requests", settled));
}

/* Outcomes that nobody sent for as long as runs are kept: logged, as somebody may wait for them. */
static void expire_outcomes(const struct housekeeping *h, struct db *db)
{
    struct error err = ERROR_INIT;
    int64_t deleted = 0, all = 0;
    bool more = true, ok = true;

    while (ok && more && rest(h, 0)) {
        ok = outcomes_expire(db, h->settings->retention_days, &deleted, &more, &err);
        all += ok ? deleted : 0;
    }
    if (!ok)
        log_warn("retention_failed", LOG_ERROR_OF(&err));
    if (all > 0)
        log_error("outcomes_expired", LOG_INT("outcomes", all),
                  LOG_INT("days", h->settings->retention_days));
}

/* If neither this worker nor another one sends them they would only pile up. */
static void drop_unwanted_outcomes(const struct housekeeping *h, struct db *db)
{
    struct error err = ERROR_INIT;
    int64_t deleted = 0, all = 0;
    bool more = true, ok = true;

    if (*h->settings->kafka_outcome_topic)
        return;
    while (ok && more && rest(h, 0)) {
        ok = outcomes_drop_unwanted(db, &deleted, &more, &err);
        all += ok ? deleted : 0;
    }
    if (!ok)
        log_warn("retention_failed", LOG_ERROR_OF(&err));
    if (all > 0)
        log_debug("outcomes_dropped", LOG_INT("outcomes", all));
}

/* A thousand rows at a time, to the end: also where more come in than one call deletes. */
static void apply_retention(struct housekeeping *h, struct db *db)
{
    struct error err = ERROR_INIT;
    bool more = true;

    if (clock_ms() < h->retention_ms)
        return;
    expire_outcomes(h, db);
    while (more && rest(h, 0)) {
        if (!retention_apply(db, h->settings->retention_days, &more, &err)) {
            log_warn("retention_failed", LOG_ERROR_OF(&err));
            more = false;
        }
    }
    h->retention_ms = clock_ms() + RETENTION_EVERY_MS;
}

static void keep_house(struct housekeeping *h)
{
    const struct db_options how = { .url = h->settings->database_url,
                                    .name = "klaviyo-worker housekeeping",
                                    .service = true,
                                    .stop_fd = &h->stop_fd };
    CLEANUP(db_freep) struct db *db = NULL;
    struct error err = ERROR_INIT;

    if (!db_open(&db, &how, &err))
        return; /* the run slots log it */
    settle(db);
    drop_unwanted_outcomes(h, db);
    apply_retention(h, db);
}

static void *housekeeping_main(void *argument)
{
    struct housekeeping *h = argument;

    for (int64_t ms = FIRST_MS; rest(h, ms);
         ms = EVERY_MS * 3 / 4 + randombytes_uniform(EVERY_MS / 2))
        keep_house(h);
    return NULL;
}

struct housekeeping *housekeeping_start(const struct settings *settings, struct error *err)
{
    struct housekeeping *h = calloc(1, sizeof *h);

    if (!h) {
        (void)error_no_memory(err);
        return NULL;
    }
    h->settings = settings;
    h->stop_fd = wakeup_open(err);
    if (h->stop_fd >= 0 && pthread_create(&h->thread, NULL, housekeeping_main, h) == 0)
        return h;
    if (h->stop_fd >= 0) {
        (void)error_set(err, ERROR_FATAL, "no thread for housekeeping");
        (void)close(h->stop_fd);
    }
    free(h);
    return NULL;
}

void housekeeping_free(struct housekeeping *h)
{
    if (!h)
        return;
    wakeup_signal(h->stop_fd);
    (void)pthread_join(h->thread, NULL);
    (void)close(h->stop_fd);
    free(h);
}
