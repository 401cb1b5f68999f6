#ifndef SIMULATOR_RECEIVED_H
#define SIMULATOR_RECEIVED_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "tests/simulator/import.h"

/*
 * Which addresses came in which import, kept only on request: it grows without
 * bound. Looked up by reading all of it, which tests can afford.
 */
struct received_import {
    uint64_t seq;
    char job[192]; /* "": refused */
    char *emails;  /* normal forms, a NUL behind each */
    size_t n;
};

struct received {
    struct received_import *list;
    size_t cap, n;
};

void received_add(struct received *received, uint64_t seq, const char *job,
                  const struct import *import);

/* [{"seq":n,"job":"…"|null},…]; the caller owns it. email is a normal form. */
json_t *received_find(const struct received *received, const char *email) MUST_USE;

/* ["a@x.example",…] of one request, in order; the caller owns it. NULL: not kept. */
json_t *received_of(const struct received *received, uint64_t seq) MUST_USE;

void received_release(struct received *received);

#endif
