#ifndef WORKER_OUTCOME_OUTCOME_FLIGHT_H
#define WORKER_OUTCOME_OUTCOME_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "worker/store/outcomes.h"

/*
 * Outcomes between their claim and the record of their fate: a bounded table. An
 * entry keeps its place, so that its address can be the tag of a record. Pure; times
 * are of clock_ms().
 */
enum {
    OUTCOME_FLIGHT_MAX = 100,                /* outcomes; one is some 1 KiB */
    OUTCOME_FLIGHT_BYTES_MAX = 1024 * 1024,  /* of their data, but for the last one claimed */
    OUTCOME_CLAIM_MS = 30 * 1000,            /* after this a dead worker's rows continue */
    OUTCOME_RENEW_MS = OUTCOME_CLAIM_MS / 3, /* two renewals may fail */
};

struct outcome_in_flight {
    bool used;
    bool reduced;
    enum outcome_fate fate; /* PENDING: the broker has not answered yet */
    int64_t outcome_id, run_id;
    int64_t since_ms;
    size_t bytes;
};

struct outcome_flight {
    struct outcome_in_flight items[OUTCOME_FLIGHT_MAX];
    int64_t renewed_ms; /* when the claims of pending ones were recorded last */
};

/* Room is asked for first: outcome_flight_room(). */
struct outcome_in_flight *outcome_flight_add(struct outcome_flight *flight,
                                             const struct outcome *outcome, int64_t now_ms);

/* How many there are, with a fate or without. */
size_t outcome_flight_n(const struct outcome_flight *flight);

/* How many further ones may be claimed, and of how much data; 0: none. */
size_t outcome_flight_room(const struct outcome_flight *flight, size_t *bytes);

/* When the oldest one that is pending was added; 0: none is. */
int64_t outcome_flight_oldest_ms(const struct outcome_flight *flight);

/* What is to be recorded: fates that are known and, where their renewal is due, all others. */
size_t outcome_flight_due(const struct outcome_flight *flight, int64_t now_ms,
                          int64_t ids[OUTCOME_FLIGHT_MAX],
                          enum outcome_fate fates[OUTCOME_FLIGHT_MAX]);

/* That was recorded: entries with a fate are over. */
void outcome_flight_recorded(struct outcome_flight *flight, int64_t now_ms);

/* The time is up: nobody waits any longer for the broker's answer on what is pending. */
void outcome_flight_give_up(struct outcome_flight *flight);

#endif
