#include "worker/metrics/run_metrics.h"

const int64_t run_metrics_bounds_ms[RUN_METRICS_BOUNDS] = { 50,   100,  250,   500,  1000,
                                                            2500, 5000, 10000, 30000 };

const char *const run_metrics_status_names[RUN_METRICS_STATUSES] = {
    [RUN_METRICS_2XX] = "2xx", [RUN_METRICS_3XX] = "3xx",          [RUN_METRICS_4XX] = "4xx",
    [RUN_METRICS_5XX] = "5xx", [RUN_METRICS_NO_RESPONSE] = "none",
};

const char *const run_metrics_member_names[RUN_METRICS_MEMBERS] = {
    [RUN_METRICS_READ] = "read",           [RUN_METRICS_INVALID] = "invalid",
    [RUN_METRICS_DUPLICATE] = "duplicate", [RUN_METRICS_UNCHANGED] = "unchanged",
    [RUN_METRICS_SELECTED] = "selected",   [RUN_METRICS_LEFT] = "left",
    [RUN_METRICS_REMOVED] = "removed",
};

static void add(atomic_llong *number, int64_t n)
{
    (void)atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

static enum run_metrics_status status_of(const struct response *response)
{
    if (response->transport != TRANSPORT_ANSWERED || response->status < 200 ||
        response->status > 599)
        return RUN_METRICS_NO_RESPONSE;
    return (enum run_metrics_status)(response->status / 100 - 2);
}

void run_metrics_response(struct run_metrics *run_metrics, const struct response *response)
{
    struct run_metrics_endpoint *endpoint = &run_metrics->endpoints[response->endpoint];
    size_t i = 0;

    while (i < RUN_METRICS_BOUNDS && response->duration_ms > run_metrics_bounds_ms[i])
        i++;
    add(&endpoint->by_status[status_of(response)], 1);
    add(&endpoint->by_duration[i], 1);
    add(&endpoint->duration_ms, response->duration_ms);
}

void run_metrics_counts(struct run_metrics *run_metrics, const struct run_counts *counts,
                        int64_t removed)
{
    add(&run_metrics->members[RUN_METRICS_READ], counts->read);
    add(&run_metrics->members[RUN_METRICS_INVALID], counts->invalid);
    add(&run_metrics->members[RUN_METRICS_DUPLICATE], counts->duplicate);
    add(&run_metrics->members[RUN_METRICS_UNCHANGED], counts->unchanged);
    add(&run_metrics->members[RUN_METRICS_SELECTED], counts->selected);
    add(&run_metrics->members[RUN_METRICS_LEFT], counts->left);
    add(&run_metrics->members[RUN_METRICS_REMOVED], removed);
}

void run_metrics_failure(struct run_metrics *run_metrics, enum run_reason reason)
{
    add(&run_metrics->failed[reason], 1);
}
