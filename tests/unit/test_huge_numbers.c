#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/huge_numbers.h"

static const struct {
    const char *json, *quoted;
} table[] = {
    { "", "" },
    { "{\"n\":1,\"x\":-1.5e10}", "{\"n\":1,\"x\":-1.5e10}" },
    /* the last that 64 bits hold, and the first that they do not */
    { "[9223372036854775807]", "[9223372036854775807]" },
    { "[-9223372036854775808]", "[-9223372036854775808]" },
    { "[9223372036854775808]", "[\"9223372036854775808\"]" },
    { "[-9223372036854775809,1]", "[\"-9223372036854775809\",1]" },
    { "12345678901234567890", "\"12345678901234567890\"" },
    /* the same of a double; what is too small is 0 */
    { "[1.7e308,1e309]", "[1.7e308,\"1e309\"]" },
    { "[-1E+400, 1e-400]", "[\"-1E+400\", 1e-400]" },
    /* not in strings, whatever is escaped in them */
    { "{\"1e400\":\"say \\\"1e400\\\\\", \"b\":1e400}",
      "{\"1e400\":\"say \\\"1e400\\\\\", \"b\":\"1e400\"}" },
    /* no JSON: it stays none */
    { "[1e400", "[\"1e400\"" },
    { "\"1e400", "\"1e400" },
    { "\"1e400\\", "\"1e400\\" },
    { "nul 1-2-3 <html>", "nul 1-2-3 <html>" },
};

static void numbers_that_jansson_cannot_hold_become_strings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct bytes json = { table[i].json, strlen(table[i].json) };
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(2 * json.n);

        quote_huge_numbers(json, &out);

        assert_true(strbuf_ok(&out));
        assert_string_equal(out.data ? out.data : "", table[i].quoted);
    }
}

static void a_number_of_any_length_is_one(void **state)
{
    static char json[5000], quoted[sizeof json + 3];

    (void)state;
    memset(json, '7', sizeof json - 1);
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", json);
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(2 * sizeof json);

    quote_huge_numbers((struct bytes){ json, sizeof json - 1 }, &out);

    assert_string_equal(out.data, quoted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_that_jansson_cannot_hold_become_strings),
        cmocka_unit_test(a_number_of_any_length_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
