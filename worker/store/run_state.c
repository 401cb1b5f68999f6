#include "worker/store/run_state.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const char *const state_names[RUN_STATES] = {
    [RUN_QUEUED] = "queued",
    [RUN_RUNNING] = "running",
    [RUN_WAITING] = "waiting",
    [RUN_SUCCEEDED] = "succeeded",
    [RUN_SUCCEEDED_WITH_REJECTIONS] = "succeeded_with_rejections",
    [RUN_FAILED] = "failed",
    [RUN_CANCELLED] = "cancelled",
};

static const char *const reason_names[RUN_REASONS] = {
    [REASON_LIST_GONE] = "list_gone",
    [REASON_KEY_REFUSED] = "key_refused",
    [REASON_KEY_UNREADABLE] = "key_unreadable",
    [REASON_CONNECTION_NEEDS_ATTENTION] = "connection_needs_attention",
    [REASON_OVER_PROFILE_LIMIT] = "over_profile_limit",
    [REASON_RETRY_BUDGET_USED_UP] = "retry_budget_used_up",
    [REASON_SOURCE_UNREADABLE] = "source_unreadable",
    [REASON_ANSWER_UNEXPECTED] = "answer_unexpected",
    [REASON_TAKEN_OVER_TOO_OFTEN] = "taken_over_too_often",
    [REASON_TOO_MANY_INVALID] = "too_many_invalid",
    [REASON_SIZE_JUMPED] = "size_jumped",
    [REASON_OVER_PLAN_LIMIT] = "over_plan_limit",
    [REASON_LIST_STARTS_FLOWS] = "list_starts_flows",
    [REASON_OTHER] = "other",
    [REASON_REMOVALS_WITHHELD] = "removals_withheld",
    [REASON_CANCELLED_BY] = "cancelled_by",
    [REASON_EXPORT_REMOVED] = "export_removed",
    [REASON_EXPORT_PAUSED] = "export_paused",
    [REASON_EXPORT_CHANGED] = "export_changed",
    [REASON_KLAVIYO_UNAVAILABLE] = "klaviyo_unavailable",
    [REASON_DATABASE_UNAVAILABLE] = "database_unavailable",
    [REASON_RATE_LIMITED] = "rate_limited",
    [REASON_LIST_IN_USE] = "list_in_use",
    [REASON_EVENT_INVALID] = "event_invalid",
};

const char *run_state_name(enum run_state state)
{
    assert(state < RUN_STATES);
    return state_names[state];
}

bool run_state_of(const char *name, enum run_state *state)
{
    for (size_t i = 0; i < RUN_STATES; i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *state = (enum run_state)i;
            return true;
        }
    }
    return false;
}

bool run_state_is_end(enum run_state state)
{
    return state >= RUN_SUCCEEDED;
}

const char *run_reason_name(enum run_reason reason)
{
    assert(reason < RUN_REASONS);
    return reason_names[reason];
}

enum run_reason run_reason_of(const char *name)
{
    if (!name)
        return REASON_NONE;
    for (size_t i = REASON_NONE + 1; i < RUN_REASONS; i++)
        if (strcmp(name, reason_names[i]) == 0)
            return (enum run_reason)i;
    return REASON_OTHER;
}

bool run_reason_is_failure(enum run_reason reason)
{
    return reason >= REASON_LIST_GONE && reason <= REASON_OTHER;
}
