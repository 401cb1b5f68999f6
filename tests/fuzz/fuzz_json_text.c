/* JSON that is kept as its text: a member's name in the first line, then the text. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/ingest/json_text.h"

static bool count(void *opaque, struct bytes value)
{
    assert(value.at && value.n > 0);
    ++*(int *)opaque;
    return true;
}

/* The text with the member set has it, and is JSON still. */
static void must_set(struct bytes text, const char *name)
{
    size_t n = 0;
    struct bytes object = json_text_trim(text);
    char *changed = NULL;
    size_t where = 0;

    if (object.n == 0 || object.at[0] != '{' || text.n > JSON_TEXT_MAX_BYTES / 2)
        return;
    changed = json_text_set_member(text, object, name, (struct bytes){ "[1]", 3 }, &n);
    assert(changed);
    assert(json_text_check((struct bytes){ changed, n }, &where));
    assert(bytes_are(json_text_member(json_text_trim((struct bytes){ changed, n }), name), "[1]"));
    free(changed);
}

static bool is_a_plain_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    char *name = fuzz_text(fuzz_line(&input));
    char *copy = fuzz_text((struct bytes){ input.at, input.n });
    struct bytes text = { copy, input.n };
    struct json_text_characters characters = { 0 };
    size_t where = 0;
    int n = 0;

    if (!json_text_check(text, &where)) {
        assert(where <= text.n || text.n > JSON_TEXT_MAX_BYTES);
    } else if (is_a_plain_name(name)) {
        struct bytes member = json_text_member(json_text_trim(text), name);

        if (member.at && json_text_string(member, &characters) == JSON_TEXT_STRING)
            free(characters.at);
        (void)!json_text_each(json_text_trim(text), count, &n);
        must_set(text, name);
    }
    free(copy);
    free(name);
    return 0;
}
