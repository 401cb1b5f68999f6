#include "worker/admin/follow.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/admin/progress.h"
#include "worker/store/db.h"
#include "worker/store/history.h"

enum { POLL_INTERVAL_MS = 300, DATABASE_RETRY_MS = 60000 };

/* The first one that did not succeed, as an error. */
static bool check_ends(const json_t *runs, struct error *err)
{
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *run = json_array_get(runs, i);
        const char *reason = json_string_value(json_object_get(run, "reason"));
        const char *detail = json_string_value(json_object_get(run, "detail"));
        if (!run_has_succeeded(run))
            return error_set(err, ERROR_INPUT, "run %" PRId64 " of export %s %s: %s: %s",
                             (int64_t)json_integer_value(json_object_get(run, "id")),
                             json_string_value(json_object_get(run, "export")),
                             json_string_value(json_object_get(run, "state")),
                             reason ? reason : "no reason given", detail ? detail : "no detail");
    }
    return true;
}

/* Each run in progress gets a member "outlook"; the others have none. */
static bool add_outlooks(struct db *db, json_t *runs, struct error *err)
{
    int64_t ids[PROGRESS_RUNS];
    char *text;
    size_t i, n = 0;
    json_t *run;

    json_array_foreach(runs, i, run)
        if (!run_has_ended(run) && n < PROGRESS_RUNS)
            ids[n++] = json_integer_value(json_object_get(run, "id"));
    if (n == 0)
        return true;
    if (!history_outlooks(db, ids, n, &text, err))
        return false;
    CLEANUP(json_freep) json_t *outlooks = json_loads(text, 0, NULL);
    free(text);
    json_array_foreach(runs, i, run) {
        char key[24];

        (void)snprintf(key, sizeof key, "%" PRId64,
                       (int64_t)json_integer_value(json_object_get(run, "id")));
        (void)json_object_set(run, "outlook", json_object_get(outlooks, key));
    }
    return true;
}

/* One poll; an ERROR_RETRY is tolerated for a minute. */
static bool poll_runs(struct context *context, const struct follow *follow, int64_t *good_ms,
                      json_t **runs, bool *over, struct error *err)
{
    struct error why = ERROR_INIT;

    *over = false;
    if (db_ready(context->db, &why) &&
        follow->read_runs(follow->opaque, context->db, runs, over, &why) &&
        add_outlooks(context->db, *runs, &why)) {
        *good_ms = clock_ms();
        return true;
    }
    if (why.kind == ERROR_RETRY && clock_ms() - *good_ms < DATABASE_RETRY_MS)
        return true;
    *err = why;
    return false;
}

bool follow_to_the_end(struct context *context, const struct follow *follow, struct error *err)
{
    struct progress progress;
    int64_t good_ms = clock_ms();

    progress_init(&progress);
    for (;;) {
        CLEANUP(json_freep) json_t *runs = NULL;
        bool over;

        if (!poll_runs(context, follow, &good_ms, &runs, &over, err))
            return false;
        if (runs)
            progress_show(&progress, runs);
        if (over)
            return check_ends(runs, err);
        (void)poll(NULL, 0, POLL_INTERVAL_MS);
    }
}
