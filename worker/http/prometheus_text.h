#ifndef WORKER_HTTP_PROMETHEUS_TEXT_H
#define WORKER_HTTP_PROMETHEUS_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * Prometheus' text format, version 0.0.4: families of samples.
 *
 *     prometheus_family(&prometheus_text, "events_ended_total", PROMETHEUS_COUNTER, "Events that
 * …"); prometheus_number(&prometheus_text, LABELS({ "end", "done" }), 17);
 *
 * Every name gets our prefix. A label's value is one of a fixed set, the
 * number of a partition, or the name of one of a bounded number of exports: anything else
 * would make series without bound.
 * Numbers are integers or millionths, so that no locale has a say.
 */
#define PROMETHEUS_PREFIX "klaviyo_worker_"
#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum prometheus_kind { PROMETHEUS_COUNTER, PROMETHEUS_GAUGE, PROMETHEUS_HISTOGRAM };

struct prometheus_label {
    const char *name; /* NULL ends the list */
    const char *value;
};

#define LABELS(...) ((const struct prometheus_label[]){ __VA_ARGS__, { NULL, NULL } })
#define NO_LABELS NULL

struct prometheus_text {
    struct strbuf *out;
    const char *name; /* of the family that is being written */
};

/* HELP and TYPE. The name is lent until the next family. */
void prometheus_family(struct prometheus_text *prometheus_text, const char *name,
                       enum prometheus_kind kind, const char *help);

/*
 * One sample of the family that was begun last; labels may be NO_LABELS. Ask
 * strbuf_ok() at the end.
 */
void prometheus_number(struct prometheus_text *prometheus_text,
                       const struct prometheus_label *labels, int64_t number);

/* A time in seconds, or any other number, given in millionths. */
void prometheus_millionths(struct prometheus_text *prometheus_text,
                           const struct prometheus_label *labels, int64_t millionths);

/*
 * counts has a number for each bound, and one for what is beyond the last one;
 * each by itself, not summed up.
 */
struct prometheus_histogram {
    const int64_t *bounds_ms;
    const int64_t *counts;
    size_t n_bounds;
    int64_t sum_ms;
};

/* At most one label besides the bounds'. */
void prometheus_histogram(struct prometheus_text *prometheus_text,
                          const struct prometheus_label *label,
                          const struct prometheus_histogram *histogram);

#endif
