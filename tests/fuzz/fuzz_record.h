#ifndef TESTS_FUZZ_FUZZ_RECORD_H
#define TESTS_FUZZ_FUZZ_RECORD_H

#include "tests/fuzz/fuzz_input.h"
#include "worker/kafka/record.h"

/*
 * A record from an input: lines "name:value" are its headers, an empty line ends them, the
 * rest is the value. The record points into the input and into names; release frees these.
 */
enum { FUZZ_HEADERS_MAX = 16 };

struct fuzz_record {
    struct record record;
    struct record_header headers[FUZZ_HEADERS_MAX];
    char *names[FUZZ_HEADERS_MAX];
};

static inline void fuzz_record_header(struct fuzz_record *out, struct bytes line)
{
    const char *colon = fuzz_find(line, ':');
    size_t name_bytes = colon ? (size_t)(colon - line.at) : line.n;
    size_t i = out->record.headers_n++;

    out->names[i] = fuzz_text((struct bytes){ line.at, name_bytes });
    out->headers[i] = (struct record_header){ .name = out->names[i],
                                              .value = colon ? colon + 1 : NULL,
                                              .value_bytes = colon ? line.n - name_bytes - 1 : 0 };
}

static inline void fuzz_record_read(struct fuzz_record *out, const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };

    out->record = (struct record){ .topic = "segment-refresh", .headers = out->headers };
    while (out->record.headers_n < FUZZ_HEADERS_MAX) {
        struct bytes line = fuzz_line(&input);

        if (line.n == 0)
            break;
        fuzz_record_header(out, line);
    }
    out->record.value = input.n > 0 ? input.at : NULL;
    out->record.value_bytes = input.n;
}

static inline void fuzz_record_release(struct fuzz_record *record)
{
    for (size_t i = 0; i < record->record.headers_n; i++)
        free(record->names[i]);
}

#endif
