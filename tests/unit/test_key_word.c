#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/cli/key_word.h"

#define KEY "pk_0123456789abcdefABCDEF0123456789ab"

static const struct {
    const char *text, *shown; /* shown NULL: as it is */
} cases[] = {
    { "", NULL },
    { "no key", NULL },
    { "pk_", NULL },
    { "pk_short123", NULL },
    { "pk_0123456789abcdefghi", NULL }, /* 19 behind it */
    { "apk_list", NULL },
    { "pk_0123456789abcdefghij", "pk_…" },
    { KEY, "pk_…" },
    { "\"" KEY "\" is one word too many", "\"pk_…\" is one word too many" },
    { "--api-key=" KEY, "--api-key=pk_…" },
    { "/home/ä/" KEY "/" KEY, "/home/ä/pk_…/pk_…" },
    { "pk_pk_0123456789abcdefghij", "pk_pk_…" },
};

static void test_a_key_is_hidden_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1024);
        const char *text = cases[i].text, *shown = cases[i].shown ? cases[i].shown : text;

        assert_int_equal(key_word_hide(&out, text, strlen(text)), cases[i].shown != NULL);
        assert_int_equal(key_word_in(text), cases[i].shown != NULL);
        assert_string_equal(out.data ? out.data : "", shown);
    }
}

/* The text need not end with a NUL. */
static void test_nothing_behind_the_text_is_looked_at(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1024);

    (void)state;
    assert_false(key_word_hide(&out, KEY, 12));
    assert_string_equal(out.data, "pk_012345678");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_hidden_wherever_it_stands),
        cmocka_unit_test(test_nothing_behind_the_text_is_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
