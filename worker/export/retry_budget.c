#include "worker/export/retry_budget.h"

void retry_budget_init(struct retry_budget *budget, int64_t budget_ms, int64_t used_ms,
                       int64_t now_ms)
{
    *budget =
        (struct retry_budget){ .budget_ms = budget_ms, .used_ms = used_ms, .last_ms = now_ms };
}

void retry_budget_progress(struct retry_budget *budget)
{
    budget->used_ms = 0;
}

bool retry_budget_tick(struct retry_budget *budget, int64_t now_ms, bool paused)
{
    if (!paused)
        budget->used_ms += now_ms - budget->last_ms;
    budget->last_ms = now_ms;
    return budget->used_ms < budget->budget_ms;
}
