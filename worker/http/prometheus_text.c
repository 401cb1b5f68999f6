#include "worker/http/prometheus_text.h"

#include <inttypes.h>
#include <stdio.h>

enum { MILLION = 1000000 };

static const char *const kind_names[] = { "counter", "gauge", "histogram" };

/* A label's value, or a help text: these escape a backslash and a line feed, values quotes too. */
static void add_escaped(struct strbuf *out, const char *text, bool quoted)
{
    for (; *text; text++) {
        if (*text == '\n')
            strbuf_add_str(out, "\\n");
        else if (*text == '\\' || (*text == '"' && quoted))
            strbuf_addf(out, "\\%c", *text);
        else
            strbuf_add(out, text, 1);
    }
}

void prometheus_family(struct prometheus_text *prometheus_text, const char *name,
                       enum prometheus_kind kind, const char *help)
{
    prometheus_text->name = name;
    strbuf_addf(prometheus_text->out, "# HELP " PROMETHEUS_PREFIX "%s ", name);
    add_escaped(prometheus_text->out, help, false);
    strbuf_addf(prometheus_text->out, "\n# TYPE " PROMETHEUS_PREFIX "%s %s\n", name,
                kind_names[kind]);
}

static void add_labels(struct strbuf *out, const struct prometheus_label *labels)
{
    const char *before = "{";

    for (; labels && labels->name; labels++) {
        strbuf_addf(out, "%s%s=\"", before, labels->name);
        add_escaped(out, labels->value, true);
        strbuf_add_str(out, "\"");
        before = ",";
    }
    if (*before == ',')
        strbuf_add_str(out, "}");
}

static void add_name(const struct prometheus_text *prometheus_text, const char *suffix,
                     const struct prometheus_label *labels)
{
    strbuf_addf(prometheus_text->out, PROMETHEUS_PREFIX "%s%s", prometheus_text->name, suffix);
    add_labels(prometheus_text->out, labels);
}

static void add_number(const struct prometheus_text *prometheus_text, const char *suffix,
                       const struct prometheus_label *labels, int64_t number)
{
    add_name(prometheus_text, suffix, labels);
    strbuf_addf(prometheus_text->out, " %" PRId64 "\n", number);
}

/* "-1.5": the number without zeros at its end; text has room for 32 bytes. */
static void format_millionths(int64_t millionths, char *text)
{
    uint64_t all = millionths < 0 ? -(uint64_t)millionths : (uint64_t)millionths;
    int n = snprintf(text, 32, "%s%" PRIu64 ".%06" PRIu64, millionths < 0 ? "-" : "", all / MILLION,
                     all % MILLION);

    while (text[n - 1] == '0')
        text[--n] = '\0';
    if (text[n - 1] == '.')
        text[--n] = '\0';
}

static void add_millionths(const struct prometheus_text *prometheus_text, const char *suffix,
                           const struct prometheus_label *labels, int64_t millionths)
{
    char text[32];

    format_millionths(millionths, text);
    add_name(prometheus_text, suffix, labels);
    strbuf_addf(prometheus_text->out, " %s\n", text);
}

void prometheus_number(struct prometheus_text *prometheus_text,
                       const struct prometheus_label *labels, int64_t number)
{
    add_number(prometheus_text, "", labels, number);
}

void prometheus_millionths(struct prometheus_text *prometheus_text,
                           const struct prometheus_label *labels, int64_t millionths)
{
    add_millionths(prometheus_text, "", labels, millionths);
}

void prometheus_histogram(struct prometheus_text *prometheus_text,
                          const struct prometheus_label *label,
                          const struct prometheus_histogram *histogram)
{
    struct prometheus_label labels[3] = { { NULL, NULL } };
    char bound[32] = "+Inf";
    int64_t sum = 0;
    size_t le = label && label->name ? 1 : 0;

    if (le)
        labels[0] = *label;
    labels[le] = (struct prometheus_label){ "le", bound };
    for (size_t i = 0; i <= histogram->n_bounds; i++) {
        sum += histogram->counts[i];
        if (i < histogram->n_bounds)
            format_millionths(histogram->bounds_ms[i] * 1000, bound);
        else
            (void)snprintf(bound, sizeof bound, "+Inf");
        add_number(prometheus_text, "_bucket", labels, sum);
    }
    add_millionths(prometheus_text, "_sum", label, histogram->sum_ms * 1000);
    add_number(prometheus_text, "_count", label, sum);
}
