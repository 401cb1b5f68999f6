#ifndef WORKER_INGEST_DEAD_LETTER_H
#define WORKER_INGEST_DEAD_LETTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"

/*
 * A dead letter: the record of an event that failed for good, with headers that
 * say why. Key, value, timestamp and the other headers stay as they are.
 * Headers of an earlier dead letter are replaced, never appended.
 */
struct dead_letter {
    const struct record *record;
    const char *reason;  /* a code such as event_invalid */
    const char *message; /* a sentence; names no address and no value. Controls are made visible */
    const char *exports; /* names of the failed ones, as export_names.h says; NULL: none */
    int64_t run_id;      /* the first failed run; 0: none */
};

enum { DEAD_LETTER_HEADERS = 11 }; /* that a letter adds, at most */

/* What is sent if the broker finds the whole too large; headers say how long the rest was. */
enum dead_letter_form {
    DEAD_LETTER_WHOLE,
    DEAD_LETTER_WITHOUT_VALUE,
    DEAD_LETTER_WITHOUT_HEADERS, /* nor the event's value, key and headers: only ours */
};

/* The letter as a record of its own. NULL: out of memory. */
struct record *dead_letter_build(const struct dead_letter *letter, enum dead_letter_form form)
    MUST_USE;

/* What a letter says about itself; texts are lent by the letter, BYTES_NONE: it does not say. */
struct dead_letter_view {
    struct bytes topic, reason, message, exports;
    int32_t partition; /* where the event came from; -1: not said */
    int64_t offset;
    int64_t run_id; /* 0: none */
    int attempts;
    bool value_missing; /* sent without its value: cannot be replayed */
};

/* Never fails: what is missing or malformed is as if not said. */
void dead_letter_read(const struct record *letter, struct dead_letter_view *view);

/*
 * The event to publish again for a letter: restricted to the export where
 * exactly one failed. Keeps the headers, so that its attempts count on, and every
 * byte of the value but that one member; its time is that of its sending. ERROR_INPUT: the letter
 * has no value any more, or its headers are not as a worker writes them.
 */
struct record *dead_letter_revive(const struct record *letter, struct error *err) MUST_USE;

#endif
