#ifndef WORKER_HTTP_CHART_H
#define WORKER_HTTP_CHART_H

#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * Small charts as inline SVG (pure). Colours come from the page's style sheet by
 * class, so that light and dark both fit; each chart has a text for people who do
 * not see it. All append to out.
 */
struct chart_bar {
    int64_t value;
    const char *css_class; /* "good", "bad", …; static */
};

enum { CHART_BARS_MAX = 20 };

/* One bar for each of CHART_BARS_MAX at most, oldest first, as high as the root of its value. */
void chart_add_bars(struct strbuf *out, const struct chart_bar *bars, size_t n, const char *label);

/* An area over time, oldest first; n is 2 or more. */
void chart_add_area(struct strbuf *out, const int64_t *values, size_t n, const char *label);

/* One bar, divided: a legend below it names the parts. */
struct chart_part {
    const char *name; /* static */
    int64_t value;
    const char *css_class; /* static */
};
void chart_add_parts(struct strbuf *out, const struct chart_part *parts, size_t n,
                     const char *label);

/* Spans of time one below the other, in parts of the whole: 0 is its beginning, 1 its end. */
struct chart_span {
    double from, to;
    const char *css_class; /* static */
};
void chart_add_spans(struct strbuf *out, const struct chart_span *spans, size_t n,
                     const char *label);

/* How much of a limit is used; used may be more. */
void chart_add_gauge(struct strbuf *out, int64_t used, int64_t limit, const char *label);

#endif
