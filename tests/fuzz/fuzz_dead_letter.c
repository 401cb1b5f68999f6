/* A dead letter as anybody may have written it: headers, an empty line, the value. */
#include <assert.h>

#include "tests/fuzz/fuzz_record.h"
#include "worker/ingest/dead_letter.h"

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
    CLEANUP(fuzz_record_release) struct fuzz_record given = { .record.headers_n = 0 };
    struct dead_letter_view view;
    struct error err = ERROR_INIT;

    fuzz_record_read(&given, data, size);
    dead_letter_read(&given.record, &view);
    assert(view.attempts >= 0 && view.run_id >= 0);
    struct record *revived = dead_letter_revive(&given.record, &err);
    assert(revived || err.text[0] != '\0');
    record_free(revived);
    must_replace(&given.record);
    return 0;
}
