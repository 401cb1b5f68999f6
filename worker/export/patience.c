#include "worker/export/patience.h"

void patience_init(struct patience *patience, int64_t budget_ms, int64_t used_ms, int64_t now_ms)
{
    *patience = (struct patience){ .budget_ms = budget_ms, .used_ms = used_ms, .last_ms = now_ms };
}

void patience_progress(struct patience *patience)
{
    patience->used_ms = 0;
}

bool patience_tick(struct patience *patience, int64_t now_ms, bool standing)
{
    if (!standing)
        patience->used_ms += now_ms - patience->last_ms;
    patience->last_ms = now_ms;
    return patience->used_ms < patience->budget_ms;
}
