#ifndef WORKER_SERVICE_EXPOSITION_H
#define WORKER_SERVICE_EXPOSITION_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * Prometheus' text format, version 0.0.4: families of samples.
 *
 *     exposition_family(&exposition, "events_ended_total", EXPOSITION_COUNTER, "Events that …");
 *     exposition_number(&exposition, LABELS({ "end", "done" }), 17);
 *
 * Every name gets our prefix. A label's value is one of a fixed set or the
 * number of a partition: whatever else would make series without bound.
 * Numbers are integers or millionths, so that no locale has a say.
 */
#define EXPOSITION_PREFIX "klaviyo_worker_"
#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum exposition_kind { EXPOSITION_COUNTER, EXPOSITION_GAUGE, EXPOSITION_HISTOGRAM };

struct exposition_label {
    const char *name; /* NULL ends the list */
    const char *value;
};

#define LABELS(...) ((const struct exposition_label[]){ __VA_ARGS__, { NULL, NULL } })
#define NO_LABELS NULL

struct exposition {
    struct strbuf *out;
    const char *name; /* of the family that is being written */
};

/* HELP and TYPE. The name is lent until the next family. */
void exposition_family(struct exposition *exposition, const char *name, enum exposition_kind kind,
                       const char *help);

void exposition_number(struct exposition *exposition, const struct exposition_label *labels,
                       int64_t number);

/* A time in seconds, or any other number, given in millionths. */
void exposition_millionths(struct exposition *exposition, const struct exposition_label *labels,
                           int64_t millionths);

/*
 * counts has a number for each bound, and one for what is beyond the last one;
 * each by itself, not summed up.
 */
struct exposition_histogram {
    const int64_t *bounds_ms;
    const int64_t *counts;
    size_t n_bounds;
    int64_t sum_ms;
};

/* At most one label beside the bounds'. */
void exposition_histogram(struct exposition *exposition, const struct exposition_label *label,
                          const struct exposition_histogram *histogram);

#endif
