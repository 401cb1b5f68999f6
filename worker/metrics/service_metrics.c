#include "worker/metrics/service_metrics.h"

#include <stdio.h>
#include <string.h>

void service_metrics_init(struct service_metrics *metrics)
{
    memset(metrics, 0, sizeof *metrics);
    (void)pthread_mutex_init(&metrics->lock, NULL);
}

void service_metrics_release(struct service_metrics *metrics)
{
    (void)pthread_mutex_destroy(&metrics->lock);
}

/* The entry of that reason; where the table is full, its last one, for all others together. */
static struct service_reason *entry_of(struct service_metrics *metrics, const char *reason)
{
    for (size_t i = 0; i < metrics->reasons_n; i++)
        if (strcmp(metrics->reasons[i].reason, reason) == 0)
            return &metrics->reasons[i];
    if (metrics->reasons_n == SERVICE_METRICS_REASONS)
        return &metrics->reasons[SERVICE_METRICS_REASONS - 1];

    struct service_reason *entry = &metrics->reasons[metrics->reasons_n++];
    (void)snprintf(entry->reason, sizeof entry->reason, "%s",
                   metrics->reasons_n == SERVICE_METRICS_REASONS ? "other" : reason);
    return entry;
}

void service_metrics_count_dead_letter(struct service_metrics *metrics, const char *reason)
{
    (void)pthread_mutex_lock(&metrics->lock);
    entry_of(metrics, reason)->dead_letters++;
    (void)pthread_mutex_unlock(&metrics->lock);
}

size_t service_metrics_partitions(struct service_metrics *metrics, struct service_partition *out,
                                  size_t max)
{
    (void)pthread_mutex_lock(&metrics->lock);
    size_t n = metrics->partitions_n;
    memcpy(out, metrics->partitions, (n < max ? n : max) * sizeof *out);
    (void)pthread_mutex_unlock(&metrics->lock);
    return n;
}

size_t service_metrics_reasons(struct service_metrics *metrics, struct service_reason *out,
                               size_t max)
{
    (void)pthread_mutex_lock(&metrics->lock);
    size_t n = metrics->reasons_n;
    memcpy(out, metrics->reasons, (n < max ? n : max) * sizeof *out);
    (void)pthread_mutex_unlock(&metrics->lock);
    return n;
}
