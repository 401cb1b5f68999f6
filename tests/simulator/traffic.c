#include "tests/simulator/traffic.h"

#include <stdlib.h>

#include "tests/simulator/memory.h"

#define SECOND_US 1000000

static int64_t time_at(const struct traffic *traffic, size_t i)
{
    return traffic->times[(traffic->first + i) % traffic->cap];
}

/* A bigger ring, its oldest entry first. */
static void grow(struct traffic *traffic)
{
    size_t cap = traffic->cap ? traffic->cap * 2 : 64;
    int64_t *times = memory_new(cap * sizeof *times);

    for (size_t i = 0; i < traffic->n; i++)
        times[i] = time_at(traffic, i);
    free(traffic->times);
    traffic->times = times;
    traffic->cap = cap;
    traffic->first = 0;
}

static void forget_older(struct traffic *traffic, int64_t at_us)
{
    while (traffic->n > 0 && time_at(traffic, 0) <= at_us - 60 * (int64_t)SECOND_US) {
        traffic->first = (traffic->first + 1) % traffic->cap;
        traffic->n--;
    }
    while (traffic->in_second > 0 &&
           time_at(traffic, traffic->n - traffic->in_second) <= at_us - SECOND_US)
        traffic->in_second--;
}

void traffic_arrival(struct traffic *traffic, int64_t at_us)
{
    if (traffic->n == traffic->cap)
        grow(traffic);
    if (traffic->in_second > traffic->n)
        traffic->in_second = traffic->n;
    forget_older(traffic, at_us);
    if (traffic->in_second > traffic->n)
        traffic->in_second = traffic->n;
    traffic->times[(traffic->first + traffic->n++) % traffic->cap] = at_us;
    traffic->in_second++;
    traffic->requests++;
    if (traffic->in_second > traffic->max_1s)
        traffic->max_1s = (uint32_t)traffic->in_second;
    if (traffic->n > traffic->max_60s)
        traffic->max_60s = (uint32_t)traffic->n;
}

void traffic_outcome(struct traffic *traffic, int status)
{
    for (size_t i = 0; i < TRAFFIC_STATUSES; i++) {
        if (traffic->statuses[i].count && traffic->statuses[i].status != status)
            continue;
        traffic->statuses[i].status = status;
        traffic->statuses[i].count++;
        return;
    }
}

void traffic_release(struct traffic *traffic)
{
    free(traffic->times);
    *traffic = (struct traffic){ 0 };
}
