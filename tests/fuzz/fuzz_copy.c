/* One message of a binary COPY, as a server sends it. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/store/copy.h"

enum { FIELDS = 3 };

static void must_lie_within(const struct bytes *field, const char *message, size_t size)
{
    if (!field->at)
        return;
    assert(field->at >= message && field->n <= size);
    assert(field->at + field->n <= message + size);
    if (field->n == 2 || field->n == 4 || field->n == 8)
        (void)copy_int(field);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *message = fuzz_text((struct bytes){ (const char *)data, size });

    for (int past_header = 0; past_header < 2; past_header++) {
        struct copy_reader reader = { .past_header = past_header == 1 };
        struct bytes fields[FIELDS];

        if (copy_read(&reader, message, size, fields, FIELDS) != COPY_ROW)
            continue;
        for (size_t i = 0; i < FIELDS; i++)
            must_lie_within(&fields[i], message, size);
    }
    free(message);
    return 0;
}
