#ifndef SIMULATOR_SCAN_H
#define SIMULATOR_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * A scan: one strict pass over a JSON text, without building a document.
 *
 *     scan_init(&scan, text, n);
 *     if (scan_open(&scan, SCAN_OBJECT))
 *         while (scan_member(&scan, &name))
 *             scan_skip(&scan);
 *     if (!scan_finish(&scan))
 *         ... scan.wrong says what, scan.at where
 *
 * The caller pulls: it enters what it wants to see and skips the rest, and
 * what is skipped is validated as strictly as what is read (RFC 8259; UTF-8
 * without overlong forms; no lone surrogate escapes; at most SCAN_DEPTH_MAX
 * levels). After the first fault every call returns false. Slices point into
 * the text and live as long as it does.
 */
enum { SCAN_DEPTH_MAX = 64 };

enum scan_kind {
    SCAN_WRONG, /* no value begins here */
    SCAN_OBJECT,
    SCAN_ARRAY,
    SCAN_STRING,
    SCAN_NUMBER,
    SCAN_BOOL,
    SCAN_NULL,
};

/* The inside of a string as it stands in the text, quotes not included. */
struct scan_text {
    const char *at;
    size_t n;
    bool escaped; /* holds at least one backslash */
};

struct scan {
    const char *start, *at, *end;
    const char *wrong; /* NULL while all is well; a constant string */
    unsigned depth;
    bool fresh; /* just inside a container: no comma is due */
};

void scan_init(struct scan *scan, const char *text, size_t n);

/* What kind of value comes next. Nothing is consumed but white space. */
enum scan_kind scan_peek(struct scan *scan);

/* Enters the next value if it is of that kind (object or array); else it is wrong. */
bool scan_open(struct scan *scan, enum scan_kind kind) MUST_USE;

/* The next member: its name is read, its value must be read or skipped next. False at the end. */
bool scan_member(struct scan *scan, struct scan_text *name) MUST_USE;

/* The next element of an array, to be read or skipped next. False at the end. */
bool scan_element(struct scan *scan) MUST_USE;

bool scan_string(struct scan *scan, struct scan_text *text) MUST_USE;

/* Passes over one value of any kind. */
bool scan_skip(struct scan *scan);

/* True if the whole text was one valid value. */
bool scan_finish(struct scan *scan) MUST_USE;

/* Whether the string, escapes resolved, equals literal. */
bool scan_text_is(const struct scan_text *text, const char *literal);

/* Appends the string with escapes resolved, as UTF-8. It may hold NUL bytes. */
void scan_text_decode(const struct scan_text *text, struct strbuf *out);

#endif
