#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/utf8.h"

static void characters_are_counted_and_what_is_none_is_refused(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        long count;
    } cases[] = {
        { "", 0, 0 },
        { "a\0b", 3, 3 },
        { "\x7f", 1, 1 },
        { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, 3 },
        { "\xf4\x8f\xbf\xbf", 4, 1 },
        { "\xc3", 1, -1 },     /* ends too early */
        { "\xc3\xa9", 1, -1 }, /* whatever stands behind its end */
        { "\x80", 1, -1 },     /* begins in the middle */
        { "\xc0\x80", 2, -1 }, /* longer than needed */
        { "\xe0\x9f\xbf", 3, -1 },
        { "\xf0\x8f\xbf\xbf", 4, -1 },
        { "\xed\xa0\x80", 3, -1 },     /* a surrogate */
        { "\xf4\x90\x80\x80", 4, -1 }, /* above U+10FFFF */
        { "\xff", 1, -1 },
        { "a\xe2\x28\xa1", 4, -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(utf8_count(cases[i].text, cases[i].n), cases[i].count);
}

/* Every code point of up to three bytes, written by the rule and read back. */
static void every_code_point_is_read_back(void **state)
{
    (void)state;
    for (uint32_t code = 0x800; code <= 0xffff; code++) {
        const char text[] = { (char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 0x3f)),
                              (char)(0x80 | (code & 0x3f)) };
        size_t expected = code >= 0xd800 && code <= 0xdfff ? 0 : 3;
        uint32_t read = 0;

        assert_int_equal(utf8_decode(text, sizeof text, &read), expected);
        assert_int_equal(read, expected ? code : 0);
    }
}

static void a_text_is_cut_between_two_characters(void **state)
{
    static const char text[] = "a\xc3\xa4\xe6\x97\xa5"; /* of 1, 2 and 3 bytes */
    static const size_t cut[] = { 0, 1, 1, 3, 3, 3, 6 };

    (void)state;
    for (size_t n = 0; n < sizeof text; n++)
        assert_int_equal(utf8_cut(text, n), cut[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_counted_and_what_is_none_is_refused),
        cmocka_unit_test(every_code_point_is_read_back),
        cmocka_unit_test(a_text_is_cut_between_two_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
