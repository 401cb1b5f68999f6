#include "worker/export/lease.h"

enum { RENEWALS = 5 };

void lease_init(struct lease *lease, int64_t length_ms, int64_t taken_ms)
{
    *lease = (struct lease){ .length_ms = length_ms };
    lease_renewed(lease, taken_ms);
}

bool lease_is_due(const struct lease *lease, int64_t now_ms)
{
    return now_ms >= lease->next_ms;
}

bool lease_is_over(const struct lease *lease, int64_t now_ms)
{
    return now_ms >= lease->renewed_ms + lease->length_ms;
}

int64_t lease_imports_until_ms(const struct lease *lease)
{
    return lease->renewed_ms + lease->length_ms * 2 / 3;
}

bool lease_allows_import(const struct lease *lease, int64_t now_ms)
{
    return now_ms < lease_imports_until_ms(lease);
}

void lease_renewed(struct lease *lease, int64_t sent_ms)
{
    lease->renewed_ms = sent_ms;
    lease->next_ms = sent_ms + lease->length_ms / RENEWALS;
}
