#include "worker/http/chart.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "worker/http/html.h"

/* In units of the view box; the style sheet says how large that is on the screen. */
enum {
    BAR_WIDTH = 5,
    BAR_STEP = 6,
    BARS_HEIGHT = 24,
    BAR_FOOT = 2, /* a run that sent nothing is still to be seen */
    AREA_STEP = 10,
    AREA_HEIGHT = 100,
    PARTS_WIDTH = 1000,
    PARTS_HEIGHT = 16,
    SPAN_STEP = 12,
    SPAN_HEIGHT = 9,
    SPAN_MIN_WIDTH = 3,
};

/* Up to its attributes: more of them, and the end of the tag, may follow. */
static void begin_tag(struct strbuf *out, const char *css_class, int width, int height,
                      const char *label)
{
    strbuf_addf(out,
                "<svg class=\"%s\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" "
                "role=\"img\" aria-label=\"",
                css_class, width, height);
    html_add_text(out, label);
    strbuf_add_str(out, "\"");
}

static void begin(struct strbuf *out, const char *css_class, int width, int height,
                  const char *label)
{
    begin_tag(out, css_class, width, height, label);
    strbuf_add_str(out, ">");
}

static void add_rectangle(struct strbuf *out, const char *css_class, double x, double width,
                          double y, double height)
{
    strbuf_addf(out, "<rect class=\"%s\" x=\"%.4g\" width=\"%.4g\" y=\"%.4g\" height=\"%.4g\"/>",
                css_class, x, width, y, height);
}

static int64_t largest_bar(const struct chart_bar *bars, size_t n)
{
    int64_t largest = 1;

    for (size_t i = 0; i < n; i++)
        if (bars[i].value > largest)
            largest = bars[i].value;
    return largest;
}

static int height_of(int64_t value, int64_t largest)
{
    double share = value > 0 ? sqrt((double)value / (double)largest) : 0;

    return (int)lround(BAR_FOOT + share * (BARS_HEIGHT - BAR_FOOT));
}

/* All bars of one class are one path: a page has hundreds of these charts. */
static void add_bars_of_class(struct strbuf *out, const struct chart_bar *bars, size_t n,
                              const char *css_class, int64_t largest)
{
    size_t room = CHART_BARS_MAX - n; /* the newest is at the right edge */

    strbuf_addf(out, "<path class=\"%s\" d=\"", css_class);
    for (size_t i = 0; i < n; i++) {
        int height = height_of(bars[i].value, largest);

        if (strcmp(bars[i].css_class, css_class) == 0)
            strbuf_addf(out, "M%d %dh%dv%dh-%dz", (int)(i + room) * BAR_STEP, BARS_HEIGHT - height,
                        BAR_WIDTH, height, BAR_WIDTH);
    }
    strbuf_add_str(out, "\"/>");
}

static bool is_first_of_class(const struct chart_bar *bars, size_t i)
{
    for (size_t before = 0; before < i; before++)
        if (strcmp(bars[before].css_class, bars[i].css_class) == 0)
            return false;
    return true;
}

void chart_add_bars(struct strbuf *out, const struct chart_bar *bars, size_t n, const char *label)
{
    int64_t largest = largest_bar(bars, n);

    begin(out, "bars", CHART_BARS_MAX * BAR_STEP, BARS_HEIGHT, label);
    for (size_t i = 0; i < n; i++)
        if (is_first_of_class(bars, i))
            add_bars_of_class(out, bars, n, bars[i].css_class, largest);
    strbuf_add_str(out, "</svg>");
}

static int64_t largest_of(const int64_t *values, size_t n)
{
    int64_t largest = 1;

    for (size_t i = 0; i < n; i++)
        if (values[i] > largest)
            largest = values[i];
    return largest;
}

void chart_add_area(struct strbuf *out, const int64_t *values, size_t n, const char *label)
{
    int64_t largest = largest_of(values, n);
    int width = (int)(n - 1) * AREA_STEP;

    begin(out, "area", width, AREA_HEIGHT, label);
    strbuf_addf(out, "<path d=\"M0 %d", AREA_HEIGHT);
    for (size_t i = 0; i < n; i++) {
        int64_t value = values[i] > 0 ? values[i] : 0;

        strbuf_addf(out, "L%d %.4g", (int)i * AREA_STEP,
                    AREA_HEIGHT - (double)value / (double)largest * (AREA_HEIGHT - 2));
    }
    strbuf_addf(out, "L%d %dZ\"/></svg>", width, AREA_HEIGHT);
}

static int64_t sum_of(const struct chart_part *parts, size_t n)
{
    int64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += parts[i].value > 0 ? parts[i].value : 0;
    return sum;
}

static void add_legend(struct strbuf *out, const struct chart_part *parts, size_t n)
{
    strbuf_add_str(out, "<ul class=\"legend\">");
    for (size_t i = 0; i < n; i++) {
        strbuf_addf(out, "<li><i class=\"%s\"></i>%s <b>", parts[i].css_class, parts[i].name);
        html_add_count(out, parts[i].value);
        strbuf_add_str(out, "</b></li>");
    }
    strbuf_add_str(out, "</ul>");
}

void chart_add_parts(struct strbuf *out, const struct chart_part *parts, size_t n,
                     const char *label)
{
    int64_t sum = sum_of(parts, n);
    double x = 0;

    begin(out, "parts", PARTS_WIDTH, PARTS_HEIGHT, label);
    for (size_t i = 0; sum > 0 && i < n; i++) {
        int64_t value = parts[i].value > 0 ? parts[i].value : 0;
        double width = (double)value / (double)sum * PARTS_WIDTH;

        if (width > 0)
            add_rectangle(out, parts[i].css_class, x, width, 0, PARTS_HEIGHT);
        x += width;
    }
    strbuf_add_str(out, "</svg>");
    add_legend(out, parts, n);
}

void chart_add_spans(struct strbuf *out, const struct chart_span *spans, size_t n,
                     const char *label)
{
    int height = (int)n * SPAN_STEP;

    begin_tag(out, "spans", PARTS_WIDTH, height, label);
    strbuf_addf(out, " height=\"%d\">", height); /* in pixels: more spans, not thinner ones */
    for (size_t i = 0; i < n; i++) {
        double from = fmin(fmax(spans[i].from, 0), 1), to = fmin(fmax(spans[i].to, from), 1);
        double width = fmax((to - from) * PARTS_WIDTH, SPAN_MIN_WIDTH);

        add_rectangle(out, spans[i].css_class, fmin(from * PARTS_WIDTH, PARTS_WIDTH - width), width,
                      (double)i * SPAN_STEP, SPAN_HEIGHT);
    }
    strbuf_add_str(out, "</svg>");
}

void chart_add_gauge(struct strbuf *out, int64_t used, int64_t limit, const char *label)
{
    double share = limit > 0 ? (double)used / (double)limit : 0;

    begin(out, "gauge", PARTS_WIDTH, PARTS_HEIGHT, label);
    add_rectangle(out, share >= 1 ? "wait" : "busy", 0, fmin(share, 1) * PARTS_WIDTH, 0,
                  PARTS_HEIGHT);
    strbuf_add_str(out, "</svg>");
}
