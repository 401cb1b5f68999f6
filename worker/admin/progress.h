#ifndef WORKER_ADMIN_PROGRESS_H
#define WORKER_ADMIN_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How runs get on, a line each: drawn over and over on a terminal; elsewhere a
 * new line when a state changes, and every few seconds in between.
 */
enum { PROGRESS_RUNS = 16 }; /* more are not shown */

struct progress {
    bool terminal;
    int lines_drawn;
    int64_t printed_ms;
    char states[PROGRESS_RUNS * 64]; /* as printed last */
};

void progress_init(struct progress *progress);

/* runs: an array of runs as runs show --json has them. Standard output. */
void progress_show(struct progress *progress, const json_t *runs);

/* "run 5 of news: running, 50000 read, …"; now_us: UTC. text has room for size bytes. */
void progress_line(const json_t *run, int64_t now_us, char *text, size_t size);

/* States of runs. */
bool run_has_ended(const json_t *run);
bool run_has_succeeded(const json_t *run);

#endif
