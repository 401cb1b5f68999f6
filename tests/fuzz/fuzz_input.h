#ifndef TESTS_FUZZ_FUZZ_INPUT_H
#define TESTS_FUZZ_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

/*
 * The input of a fuzz target: its first lines say the circumstances (a status, a
 * header), what follows them is the text that is parsed. So a finding can be read,
 * and a seed be written by hand.
 *
 * Each target is a file with LLVMFuzzerTestOneInput(). In the preset `fuzz` it is
 * linked with libFuzzer, in the others with replay.c, which gives it every file of
 * its corpus. A broken promise is an assertion; the sanitizers find the rest.
 */
struct fuzz_input {
    const char *at;
    size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line, without its end; what is left, where there is no line end. */
static inline struct bytes fuzz_line(struct fuzz_input *input)
{
    const char *end = input->n > 0 ? memchr(input->at, '\n', input->n) : NULL;
    struct bytes line = { input->at, end ? (size_t)(end - input->at) : input->n };
    size_t used = line.n + (end ? 1 : 0);

    if (used > 0)
        input->at += used;
    input->n -= used;
    return line;
}

enum { FUZZ_TEXT_MAX_BYTES = 1 << 24 };

/* A copy with a NUL behind it, of exactly that size, so that a sanitizer sees a read beyond. */
static inline char *fuzz_text(struct bytes bytes)
{
    char *text = bytes.n < FUZZ_TEXT_MAX_BYTES ? calloc(bytes.n + 1, 1) : NULL;

    if (!text)
        abort();
    if (bytes.n > 0)
        memcpy(text, bytes.at, bytes.n);
    return text;
}

/* Where the character is first; NULL: it is not there. */
static inline const char *fuzz_find(struct bytes bytes, char c)
{
    return bytes.n > 0 && bytes.n < FUZZ_TEXT_MAX_BYTES ? memchr(bytes.at, c, bytes.n) : NULL;
}

#endif
