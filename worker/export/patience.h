#ifndef WORKER_EXPORT_PATIENCE_H
#define WORKER_EXPORT_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Patience: how long a run may go on without progress (pure; the clock is a
 * parameter). Time while a rate limit is waited for does not count; progress
 * makes it whole again. What was used is written with the heartbeat, so that the
 * next owner goes on with what is left.
 */
struct patience {
    int64_t budget_ms;
    int64_t used_ms;
    int64_t last_ms;
};

void patience_init(struct patience *patience, int64_t budget_ms, int64_t used_ms, int64_t now_ms);
void patience_progress(struct patience *patience);

/* Time has passed; standing: it does not count. False once the budget is used up. */
bool patience_tick(struct patience *patience, int64_t now_ms, bool standing);

#endif
