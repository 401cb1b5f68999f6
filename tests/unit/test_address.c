#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/export/address.h"

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *address;
    enum address_fault fault;
} cases[] = {
    { "", ADDRESS_MISSING },
    { "ada@shop.example", ADDRESS_FINE },
    { "a@b.co", ADDRESS_FINE },
    { "first.last+tag@sub.shop.example", ADDRESS_FINE },
    { "!#$%&'*+-/=?^_`{|}~@shop.example", ADDRESS_FINE },
    { "ada@xn--bcher-kva.example", ADDRESS_FINE },
    { "ada@shop.xn--p1ai", ADDRESS_FINE },
    { "1@2.example", ADDRESS_FINE },
    { "b\xc3\xbc@shop.example", ADDRESS_NOT_ASCII },
    { "\xff", ADDRESS_NOT_ASCII },
    { "ada", ADDRESS_MALFORMED },
    { "@shop.example", ADDRESS_MALFORMED },
    { "ada@", ADDRESS_MALFORMED },
    { "ada@shop", ADDRESS_MALFORMED },
    { "ada@shop.e", ADDRESS_MALFORMED },
    { "ada@shop.12", ADDRESS_MALFORMED },
    { "ada@shop.e1", ADDRESS_MALFORMED },
    { "ada@shop.xn--", ADDRESS_MALFORMED },
    { "ada@@shop.example", ADDRESS_MALFORMED },
    { "ada@b@shop.example", ADDRESS_MALFORMED },
    { ".ada@shop.example", ADDRESS_MALFORMED },
    { "ada.@shop.example", ADDRESS_MALFORMED },
    { "a..da@shop.example", ADDRESS_MALFORMED },
    { "\"ada\"@shop.example", ADDRESS_MALFORMED },
    { "\"a@b\"@shop.example", ADDRESS_MALFORMED },
    { "a da@shop.example", ADDRESS_MALFORMED },
    { "ada@shop .example", ADDRESS_MALFORMED },
    { "ada@-shop.example", ADDRESS_MALFORMED },
    { "ada@shop-.example", ADDRESS_MALFORMED },
    { "ada@shop..example", ADDRESS_MALFORMED },
    { "ada@shop.example.", ADDRESS_MALFORMED },
    { "ada@[127.0.0.1]", ADDRESS_MALFORMED },
    { "ada@shop_x.example", ADDRESS_MALFORMED },
    { "a\x01@shop.example", ADDRESS_MALFORMED },
    { A63 "b@shop.example", ADDRESS_FINE },
    { A63 "bc@shop.example", ADDRESS_TOO_LONG },
    { "ada@" A63 ".example", ADDRESS_FINE },
    { "ada@" A63 "b.example", ADDRESS_MALFORMED },
    { "a@" A63 "." A63 "." A63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      ADDRESS_TOO_LONG },
    { "a@" A63 "." A63 "." A63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      ADDRESS_TOO_LONG }, /* by one */
    { "a@" A63 "." A63 "." A63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      ADDRESS_FINE },
};

static void each_address_has_its_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (address_check(cases[i].address, strlen(cases[i].address)) != cases[i].fault)
            fail_msg("%s", cases[i].address);
}

static void a_nul_inside_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(address_check("a\0b@shop.example", 16), ADDRESS_MALFORMED);
    assert_int_equal(address_check("ab@shop.exa\0mple", 16), ADDRESS_MALFORMED);
}

static void check_as_written(const char *address, bool fine)
{
    assert_int_equal(address_is_fine_as_written(address, strlen(address)), fine);
}

static void check_with_blank(char *address, size_t len)
{
    address[len] = ' ';
    assert_false(address_is_fine_as_written(address, len + 1));
}

static void in_upper_case(const char *address, char *written)
{
    for (; *address; address++)
        *written++ = (char)(*address >= 'a' && *address <= 'z' ? *address - 'a' + 'A' : *address);
    *written = '\0';
}

static void an_address_is_fine_as_written_in_any_case_and_without_blanks(void **state)
{
    char written[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        in_upper_case(cases[i].address, written);
        check_as_written(cases[i].address, cases[i].fault == ADDRESS_FINE);
        check_as_written(written, cases[i].fault == ADDRESS_FINE);
        check_with_blank(written, strlen(written));
    }
    assert_false(address_is_fine_as_written(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_fault),
        cmocka_unit_test(a_nul_inside_is_malformed),
        cmocka_unit_test(an_address_is_fine_as_written_in_any_case_and_without_blanks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
