/* librdkafka's statistics and its log, in whatever words. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/kafka/client_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text((struct bytes){ (const char *)data, size });
    struct client_reset reset = { .partition = -1, .offset = -1 };
    bool told = client_text_reset(text, &reset);

    assert(told == (reset.partition >= 0));
    assert(told == (reset.offset >= 0));
    assert(!told || strstr(text, "offset reset"));
    assert(!client_text_is_steady(text) || strstr(text, "steady"));
    free(text);
    return 0;
}
