#ifndef SIMULATOR_ANSWER_H
#define SIMULATOR_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "tests/simulator/problem.h"

/*
 * An answer under construction: status, headers, body, and how its delivery is
 * to be spoiled. Status 0 means that nobody has answered yet.
 */
#define ANSWER_BODY_MAX ((size_t)1 << 31)

enum { ANSWER_HEADERS_MAX = 16 };

struct answer {
    int status;
    struct strbuf body;
    char content_type[80]; /* "": no such header */
    struct {
        char name[64], value[512];
    } headers[ANSWER_HEADERS_MAX];
    size_t n_headers;
    int retry_after_s; /* what its Retry-After says; -1: there is none */
    int64_t truncate;  /* send only so many bytes, then break off; -1: all */
    int pause_ms;      /* in the middle of the body */
    bool reset;        /* break the connection instead of answering */
};

void answer_init(struct answer *answer);
void answer_release(struct answer *answer);

void answer_header(struct answer *answer, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Begins a JSON:API document with that status; the caller appends to answer->body. */
struct strbuf *answer_document(struct answer *answer, int status);

/* A document that lists one error. pointer NULL: no source. */
void answer_error(struct answer *answer, int status, const char *code, const char *title,
                  const char *pointer, const char *fmt, ...) PRINTF_LIKE(6, 7);

/* 400 with all problems; row_pointer is what pointers to a row begin with, its number follows. */
void answer_problems(struct answer *answer, const struct problems *problems,
                     const char *row_pointer);

/* 400 about a query parameter. */
void answer_bad_parameter(struct answer *answer, const char *parameter, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The 429 that the service sends. */
void answer_throttled(struct answer *answer, unsigned wait_s);

/* Takes the value (NULL counts as out of memory) and sends it as plain JSON. */
void answer_json(struct answer *answer, int status, json_t *value);

#endif
