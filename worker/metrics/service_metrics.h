#ifndef WORKER_METRICS_SERVICE_METRICS_H
#define WORKER_METRICS_SERVICE_METRICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * Figures of the side towards Kafka: written by control, intake and outcomes, read for
 * health and metrics. Atomics, each true by itself. The
 * partitions are a snapshot under a lock that is held for a copy only, and
 * never by a run.
 */
enum { SERVICE_METRICS_PARTITIONS = 1024, SERVICE_METRICS_REASONS = 24 };

struct service_partition {
    int32_t partition;
    int64_t watermark; /* everything below has ended; -1: nothing delivered yet */
    int64_t committed; /* as the broker confirmed to this worker; -1: not yet */
    int64_t end;       /* the partition's end as last heard; -1: not heard yet */
    int64_t open;      /* events open */
};

struct service_metrics {
    /* Events, by what became of them: totals. */
    atomic_llong events_received, events_done, events_ignored, events_tombstone, events_invalid,
        events_dead, events_duplicate, events_dropped, events_lost, events_blocked, events_deleted;

    /* Now. */
    atomic_llong events_open, events_open_bytes, partitions_paused, dead_letters_waiting;
    atomic_llong event_blocked_ms;      /* clock_ms() when a lock held up an event last; 0: never */
    atomic_bool subscribed;             /* in the group now, with or without partitions */
    atomic_bool database_reached;       /* intake's connection is up */
    atomic_llong database_connected_ms; /* clock_ms() of the last new connection; 0: none yet */
    atomic_llong partitions_assigned;
    atomic_llong kafka_config_changes; /* how often KAFKA_CONFIG_FILE has changed */
    atomic_bool draining;

    /* Totals. */
    atomic_llong rebalances_assigned, rebalances_revoked, rebalances_lost, pauses, resumes, rewinds,
        commits, commit_errors, kafka_errors, database_errors, dead_letter_retries,
        dead_letters_without_value, outcomes_sent, outcome_retries;

    /* For /livez: the loop turns at least every 100 ms. */
    atomic_llong loop_ticks, loop_last_tick_ms; /* clock_ms() */
    atomic_llong loop_longest_turn_us;
    atomic_llong intake_turn_ms; /* clock_ms() of intake's last turn, at least once a second */

    pthread_mutex_t lock; /* of what follows */
    /* Out of the group they stay as they were last: what waits there has not ended. */
    struct service_partition partitions[SERVICE_METRICS_PARTITIONS];
    size_t partitions_n;
    struct service_reason {
        char reason[48];
        int64_t dead_letters; /* acknowledged by the broker */
    } reasons[SERVICE_METRICS_REASONS];
    size_t reasons_n;
};

/* It is large (some 42 KiB): one per process, not on the stack of a thread. */
void service_metrics_init(struct service_metrics *metrics);
void service_metrics_release(struct service_metrics *metrics);

/* Any thread. Beyond SERVICE_METRICS_REASONS distinct reasons the last entry takes the others. */
void service_metrics_count_dead_letter(struct service_metrics *metrics, const char *reason);

/* Copies up to max; returns how many there are. */
size_t service_metrics_partitions(struct service_metrics *metrics, struct service_partition *out,
                                  size_t max);
size_t service_metrics_reasons(struct service_metrics *metrics, struct service_reason *out,
                               size_t max);

#endif
