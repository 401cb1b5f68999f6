#ifndef SIMULATOR_DOCUMENT_H
#define SIMULATOR_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "tests/simulator/behaviour.h"
#include "tests/simulator/problem.h"

/*
 * Writing JSON:API documents: the pieces that are the same everywhere.
 * Everything is appended to a strbuf; the result is valid JSON.
 */

/* In quotes and escaped; NULL becomes null. */
void document_add_string(struct strbuf *out, const char *text);

/* "2026-09-04T13:40:00+00:00", with or without microseconds as `stamps` says. */
void document_add_time(struct strbuf *out, int64_t utc_us, int stamps);

/* The complete pointer, in quotes. */
void document_add_pointer(struct strbuf *out, const struct problem *problem,
                          const char *row_pointer);

/*
 * The members of an attributes object of which the client may have asked for a
 * few (fields[type]=a,b). NULL: all.
 *
 *     struct fieldset set = { .out = out, .wanted = "email" };
 *     if (fieldset_member(&set, "email"))
 *         document_add_string(out, email);
 */
struct fieldset {
    struct strbuf *out;
    const char *wanted;
    bool any;
};

/* True: the name is written and the value must follow. */
bool fieldset_member(struct fieldset *set, const char *name);

#endif
