#ifndef WORKER_ADMIN_PROGRESS_H
#define WORKER_ADMIN_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/export/time_left.h"

/*
 * The progress of runs, one line per run: drawn over and over on a terminal,
 * never wider than it is; elsewhere a new line when a state changes, and every
 * few seconds in between.
 */
/* Of more, those that have not ended come first; the rest is counted in a line of its own. */
enum { PROGRESS_RUNS = 16 };

/* When a run will be through, as it was shown last. */
struct progress_estimate {
    int64_t run_id;
    struct time_left left;
};

struct progress {
    bool terminal;
    int lines_drawn;
    int64_t printed_ms;
    char states[(PROGRESS_RUNS + 1) * 64]; /* as printed last */
    struct progress_estimate estimates[PROGRESS_RUNS];
};

/* Asks whether standard output is a terminal. */
void progress_init(struct progress *progress);

/* runs: an array of runs as runs show --json has them, with an outlook. Standard output. */
void progress_show(struct progress *progress, const json_t *runs);

/* With the outlook of the run, a member of it that follow.h has added. now_us: UTC. */
void progress_estimate_update(struct progress_estimate *estimate, const json_t *run,
                              int64_t now_us);

/*
 * "run 5 of news: running, 50000 read, …"; text has room for size bytes. What is
 * wider than that many columns is said in fewer words, and then cut.
 */
void progress_line(const json_t *run, const struct progress_estimate *estimate, int64_t now_us,
                   int columns, char *text, size_t size);

/* States of runs. */
bool run_has_ended(const json_t *run);
bool run_has_succeeded(const json_t *run);

#endif
