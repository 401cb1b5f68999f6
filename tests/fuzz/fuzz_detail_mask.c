/* The detail of an error of Klaviyo in the first line, then the profile objects of a batch. */
#include <assert.h>
#include <ctype.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/klaviyo/detail_mask.h"

static void must_be_fit_for_a_log(const char *masked, size_t size)
{
    assert(strlen(masked) < size);
    for (const char *at = masked; *at; at++)
        assert(*at >= ' ' && *at <= '~' && !isdigit((unsigned char)*at) && !strchr("@\"`", *at));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    char *text = fuzz_text(fuzz_line(&input));
    char *objects = fuzz_text((struct bytes){ input.at, input.n });
    char masked[DETAIL_MASK_MAX_BYTES + 1], by_text[DETAIL_MASK_MAX_BYTES + 1], cut[40];

    (void)detail_mask(masked, sizeof masked, text, objects, input.n);
    must_be_fit_for_a_log(masked, sizeof masked);
    (void)detail_mask(cut, sizeof cut, text, objects, input.n);
    must_be_fit_for_a_log(cut, sizeof cut);
    assert(strncmp(cut, masked, strlen(cut)) == 0);
    if (detail_mask(masked, sizeof masked, text, objects, input.n)) {
        assert(detail_mask(by_text, sizeof by_text, text, NULL, 0));
        assert(strcmp(masked, by_text) == 0);
    }
    free(objects);
    free(text);
    return 0;
}
