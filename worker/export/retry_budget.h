#ifndef WORKER_EXPORT_RETRY_BUDGET_H
#define WORKER_EXPORT_RETRY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The retry budget: how long a run may go on without progress (pure; the time
 * is a parameter, in milliseconds of clock_ms()). Time while a rate limit is
 * waited for does not count; progress makes the budget whole again. What was
 * used is written with the heartbeat, so that the next owner continues with what
 * is left.
 */
struct retry_budget {
    int64_t budget_ms;
    int64_t used_ms;
    int64_t last_ms;
};

/* used_ms: what earlier owners have used of it. Progress makes it whole again. */
void retry_budget_init(struct retry_budget *budget, int64_t budget_ms, int64_t used_ms,
                       int64_t now_ms);
void retry_budget_progress(struct retry_budget *budget);

/* Time has passed; paused: it does not count. False once the budget is used up. */
bool retry_budget_tick(struct retry_budget *budget, int64_t now_ms, bool paused);

#endif
