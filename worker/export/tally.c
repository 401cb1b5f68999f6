#include "worker/export/tally.h"

#include <string.h>

const int64_t tally_bounds_ms[TALLY_BOUNDS] = { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000 };

const char *const tally_status_names[TALLY_STATUSES] = {
    [TALLY_2XX] = "2xx", [TALLY_3XX] = "3xx",        [TALLY_4XX] = "4xx",
    [TALLY_5XX] = "5xx", [TALLY_NO_ANSWER] = "none",
};

const char *const tally_member_names[TALLY_MEMBERS] = {
    [TALLY_READ] = "read",           [TALLY_INVALID] = "invalid",   [TALLY_DUPLICATE] = "duplicate",
    [TALLY_UNCHANGED] = "unchanged", [TALLY_SELECTED] = "selected", [TALLY_LEFT] = "left",
};

const char *const tally_reasons[TALLY_REASONS] = {
    "list_gone",
    "key_refused",
    "key_unreadable",
    "over_profile_limit",
    "retry_budget_used_up",
    "source_unreadable",
    "answer_unexpected",
    "connection_needs_attention",
    "taken_over_too_often",
    "other",
};

static void add(atomic_llong *number, int64_t n)
{
    (void)atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

static enum tally_status status_of(const struct answer *answer)
{
    if (answer->transport != TRANSPORT_ANSWERED || answer->status < 200 || answer->status > 599)
        return TALLY_NO_ANSWER;
    return (enum tally_status)(answer->status / 100 - 2);
}

void tally_answer(struct tally *tally, const struct answer *answer)
{
    struct tally_endpoint *endpoint = &tally->endpoints[answer->endpoint];
    size_t i = 0;

    while (i < TALLY_BOUNDS && answer->duration_ms > tally_bounds_ms[i])
        i++;
    add(&endpoint->by_status[status_of(answer)], 1);
    add(&endpoint->by_duration[i], 1);
    add(&endpoint->duration_ms, answer->duration_ms);
}

void tally_counts(struct tally *tally, const struct run_counts *counts)
{
    add(&tally->members[TALLY_READ], counts->read);
    add(&tally->members[TALLY_INVALID], counts->invalid);
    add(&tally->members[TALLY_DUPLICATE], counts->duplicate);
    add(&tally->members[TALLY_UNCHANGED], counts->unchanged);
    add(&tally->members[TALLY_SELECTED], counts->selected);
    add(&tally->members[TALLY_LEFT], counts->left);
}

void tally_failure(struct tally *tally, const char *reason)
{
    size_t i = 0;

    while (i < TALLY_REASONS - 1 && strcmp(reason, tally_reasons[i]) != 0)
        i++;
    add(&tally->failed[i], 1);
}
