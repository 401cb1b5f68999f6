/* A dead letter as anybody may have written it: headers, an empty line, the value. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/ingest/dead_letter.h"

enum { HEADERS_MAX = 16 };

static size_t read_headers(struct fuzz_input *input, struct record_header *headers, char **names)
{
    size_t n = 0;

    while (n < HEADERS_MAX) {
        struct bytes line = fuzz_line(input);
        const char *colon = fuzz_find(line, ':');
        size_t name_bytes = colon ? (size_t)(colon - line.at) : line.n;

        if (line.n == 0)
            break;
        names[n] = fuzz_text((struct bytes){ line.at, name_bytes });
        headers[n].name = names[n];
        headers[n].value = colon ? colon + 1 : NULL;
        headers[n++].value_bytes = colon ? line.n - name_bytes - 1 : 0;
    }
    return n;
}

/* A letter of a letter: what an earlier one added is replaced, never appended. */
static void must_replace(const struct record *record)
{
    struct dead_letter letter = {
        .record = record, .reason = "list_gone", .message = "The list is gone.", .run_id = 7
    };

    for (int form = DEAD_LETTER_WHOLE; form <= DEAD_LETTER_WITHOUT_HEADERS; form++) {
        CLEANUP(record_freep)
        struct record *once = dead_letter_build(&letter, (enum dead_letter_form)form);
        CLEANUP(record_freep) struct record *twice = NULL;

        assert(once && once->headers_n <= record->headers_n + DEAD_LETTER_HEADERS);
        letter.record = once;
        twice = dead_letter_build(&letter, (enum dead_letter_form)form);
        assert(twice && twice->headers_n == once->headers_n);
        letter.record = record;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    struct record_header headers[HEADERS_MAX];
    char *names[HEADERS_MAX];
    size_t n = read_headers(&input, headers, names);
    struct record record = { .topic = "segment-refresh.dead-letter",
                             .value = input.n > 0 ? input.at : NULL,
                             .value_bytes = input.n,
                             .headers = headers,
                             .headers_n = n };
    struct dead_letter_view view;
    struct error err = ERROR_INIT;
    struct record *revived = NULL;

    dead_letter_read(&record, &view);
    assert(view.attempts >= 0 && view.run_id >= 0);
    revived = dead_letter_revive(&record, &err);
    assert(revived || err.text[0] != '\0');
    record_free(revived);
    must_replace(&record);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    return 0;
}
