/* A text from outside on its way to a terminal, a log line or a JSON string. */
#include <assert.h>
#include <jansson.h>

#include "common/utf8.h"
#include "common/visible_text.h"
#include "tests/fuzz/fuzz_input.h"

enum { OUT_MAX_BYTES = 1 << 24 };

static void must_be_harmless(const struct strbuf *out, bool lines)
{
    uint32_t code = 0;

    for (size_t at = 0; at < out->len;) {
        size_t n = utf8_decode(out->data + at, out->len - at, &code);

        assert(n > 0);
        assert(!code_point_is_unsafe(code) || (lines && code == '\n'));
        at += n;
    }
}

static void must_be_json(const struct strbuf *inside)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(OUT_MAX_BYTES);
    json_t *value = NULL;

    strbuf_add(&text, "\"", 1);
    if (inside->len > 0)
        strbuf_add(&text, inside->data, inside->len);
    strbuf_add(&text, "\"", 1);
    value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert(json_is_string(value));
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t max = size > 0 ? 16 + data[0] : 16;

    for (int mode = VISIBLE_LINE; mode <= VISIBLE_JSON; mode++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(OUT_MAX_BYTES);
        CLEANUP(strbuf_release) struct strbuf cut = STRBUF_INIT(OUT_MAX_BYTES);

        assert(visible_text_add(&out, (enum visible_text_mode)mode, (const char *)data, size,
                                size * 6 + 1));
        must_be_harmless(&out, mode == VISIBLE_LINES);
        (void)visible_text_add(&cut, (enum visible_text_mode)mode, (const char *)data, size, max);
        assert(cut.len <= max);
        must_be_harmless(&cut, mode == VISIBLE_LINES);
        if (mode == VISIBLE_JSON)
            must_be_json(&out);
    }
    return 0;
}
