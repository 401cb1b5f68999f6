/* One message of a binary COPY, as a server sends it. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/store/copy.h"

enum { FIELDS = 3 };

static void must_lie_within(const struct copy_field *field, const char *message, size_t size)
{
    if (!field->bytes)
        return;
    assert(field->bytes >= message && field->len <= size);
    assert(field->bytes + field->len <= message + size);
    if (field->len == 2 || field->len == 4 || field->len == 8)
        (void)copy_int(field);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *message = fuzz_text((struct bytes){ (const char *)data, size });

    for (int past_header = 0; past_header < 2; past_header++) {
        struct copy_reader reader = { .past_header = past_header == 1 };
        struct copy_field fields[FIELDS];

        if (copy_read(&reader, message, size, fields, FIELDS) != COPY_ROW)
            continue;
        for (size_t i = 0; i < FIELDS; i++)
            must_lie_within(&fields[i], message, size);
    }
    free(message);
    return 0;
}
