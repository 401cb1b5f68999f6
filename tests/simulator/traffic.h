#ifndef SIMULATOR_TRAFFIC_H
#define SIMULATOR_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

/*
 * The requests that arrived at one endpoint: how many, with which outcome, and
 * how many at most in any 1 s and any 60 s (windows that slide, unlike those of
 * a limit). Times in microseconds; they may arrive slightly out of order.
 */
enum { TRAFFIC_STATUSES = 24 };

struct traffic {
    int64_t *times; /* of the last minute, a ring */
    size_t cap, first, n;
    size_t in_second; /* how many of the newest are less than 1 s old */
    uint32_t max_1s, max_60s;
    uint64_t requests;
    struct {
        int status;
        uint64_t count;
    } statuses[TRAFFIC_STATUSES];
};

void traffic_arrival(struct traffic *traffic, int64_t at_us);
void traffic_outcome(struct traffic *traffic, int status);
void traffic_release(struct traffic *traffic);

#endif
