#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/export/address.h"
#include "worker/export/mapping.h"

enum { OBJECT_MAX = 4096, FRAME_AT_MOST = 1024 };

static char first_name[] = "first_name", latitude[] = "location.latitude", zip[] = "location.zip",
            tier[] = "tier", email[] = "email", odd[] = "a\"b\n", subscriptions[] = "subscriptions";

/* The object that one field with that value makes of ada@x.example; "": absent. */
static void assert_object(const struct export_field *field, const char *value, const char *expected,
                          struct mapping_count *count)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(OBJECT_MAX);
    CLEANUP(mapping_freep) struct mapping *mapping = mapping_new(field, 1);
    struct bytes values[] = { { *value ? value : NULL, strlen(value) } };

    mapping_add(mapping, &out, "ada@x.example", 13, values);
    assert_true(strbuf_ok(&out));
    assert_string_equal(out.data, expected);
    *count = mapping_count(mapping, 0);
}

#define OBJECT(rest) "{\"type\":\"profile\",\"attributes\":{\"email\":\"ada@x.example\"" rest "}}"

static void a_value_takes_the_form_that_klaviyo_wants(void **state)
{
    static const struct {
        struct export_field field;
        const char *value;
        const char *object;
        int with_value, no_text;
    } cases[] = {
        { { .name = first_name }, "\"Ada\"", OBJECT(",\"first_name\":\"Ada\""), 1, 0 },
        { { .name = first_name },
          "12345678901234567890.50",
          OBJECT(",\"first_name\":\"12345678901234567890.50\""),
          1,
          0 },
        { { .name = first_name }, "-0", OBJECT(",\"first_name\":\"-0\""), 1, 0 },
        { { .name = first_name }, "true", OBJECT(",\"first_name\":\"true\""), 1, 0 },
        { { .name = first_name }, "null", OBJECT(""), 0, 0 },
        { { .name = first_name }, "", OBJECT(""), 0, 0 },
        { { .name = first_name }, "{\"a\": 1}", OBJECT(""), 1, 1 },
        { { .name = first_name }, "[1]", OBJECT(""), 1, 1 },
        { { .name = zip }, "1010", OBJECT(",\"location\":{\"zip\":\"1010\"}"), 1, 0 },
        { { .name = zip }, "[]", OBJECT(""), 1, 1 },
        { { .name = latitude }, "48.2", OBJECT(",\"location\":{\"latitude\":48.2}"), 1, 0 },
        { { .name = latitude }, "\"48.2\"", OBJECT(",\"location\":{\"latitude\":\"48.2\"}"), 1, 0 },
        { { .name = latitude }, "true", OBJECT(""), 1, 1 },
        { { .is_property = true, .name = tier },
          "{\"a\": 1}",
          OBJECT(",\"properties\":{\"tier\":{\"a\": 1}}"),
          1,
          0 },
        { { .is_property = true, .name = tier },
          "7",
          OBJECT(",\"properties\":{\"tier\":7}"),
          1,
          0 },
        { { .is_property = true, .name = odd },
          "7",
          OBJECT(",\"properties\":{\"a\\\"b\\u000a\":7}"),
          1,
          0 },
        { { .is_property = true, .name = email },
          "7",
          OBJECT(",\"properties\":{\"email\":7}"),
          1,
          0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mapping_count count;

        assert_object(&cases[i].field, cases[i].value, cases[i].object, &count);
        assert_int_equal(count.with_value, cases[i].with_value);
        assert_int_equal(count.no_text, cases[i].no_text);
    }
}

static void what_klaviyo_does_not_have_is_left_out(void **state)
{
    static const struct export_field fields[] = { { .name = email }, { .name = subscriptions } };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct mapping_count count;

        assert_object(&fields[i], "\"x@y.example\"", OBJECT(""), &count);
    }
}

static void a_profile_holds_its_groups_and_no_nulls(void **state)
{
    const struct export_field fields[] = { { .is_property = true, .name = tier },
                                           { .name = first_name },
                                           { .name = zip },
                                           { .is_property = true, .name = odd } };
    const struct bytes values[] = { { "3", 1 }, { "\"Ada\"", 5 }, { "null", 4 }, { "[1]", 3 } };
    const struct bytes none[] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    CLEANUP(mapping_freep) struct mapping *mapping = mapping_new(fields, 4);
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);
    size_t n;

    (void)state;
    mapping_add(mapping, &out, "ada@x.example", 13, values);
    assert_string_equal(out.data, OBJECT(",\"first_name\":\"Ada\",\"properties\":{\"tier\":3,"
                                         "\"a\\\"b\\u000a\":[1]}"));
    assert_memory_equal(mapping_address(out.data, out.len, &n), "ada@x.example", 13);
    assert_int_equal(n, 13);
    strbuf_rewind(&out, 0);
    mapping_add(mapping, &out, "ada@x.example", 13, none);
    assert_string_equal(out.data, OBJECT(""));
}

static void a_property_that_lost_its_value_is_unset_by_name(void **state)
{
    const struct export_field fields[] = { { .is_property = true, .name = tier },
                                           { .name = first_name },
                                           { .name = zip },
                                           { .is_property = true, .name = odd } };
    static const struct {
        struct bytes values[4];
        const char *object;
        bool uncleared; /* a standard attribute lost its value */
    } cases[] = {
        { { { "3", 1 }, { "\"Ada\"", 5 }, { "1", 1 }, { "[1]", 3 } }, "}", false },
        { { { "null", 4 }, { "\"Ada\"", 5 }, { "1", 1 }, { "[1]", 3 } },
          ",\"meta\":{\"patch_properties\":{\"unset\":[\"tier\"]}}}",
          false },
        { { { NULL, 0 }, { "\"Ada\"", 5 }, { NULL, 0 }, { NULL, 0 } },
          ",\"meta\":{\"patch_properties\":{\"unset\":[\"tier\",\"a\\\"b\\u000a\"]}}}",
          true },
        { { { "3", 1 }, { "[]", 2 }, { "1", 1 }, { "0", 1 } }, "}", true },
    };
    CLEANUP(mapping_freep) struct mapping *mapping = mapping_new(fields, 4);
    uint64_t before = mapping_filled(mapping, cases[0].values);

    (void)state;
    assert_int_equal(mapping_properties(mapping) & ~before, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);

        strbuf_add_str(&out, "{}");
        mapping_add_unset(mapping, &out, before, cases[i].values);
        assert_string_equal(out.data + 1, cases[i].object);
        assert_int_equal(mapping_cannot_clear(mapping, before, cases[i].values),
                         cases[i].uncleared);

        strbuf_rewind(&out, 0);
        strbuf_add_str(&out, "{}");
        mapping_add_unset(mapping, &out, 0, cases[i].values); /* it never had one */
        assert_string_equal(out.data, "{}");
        assert_false(mapping_cannot_clear(mapping, 0, cases[i].values));
    }
}

static void the_address_of_an_object_is_found_again(void **state)
{
    size_t len = 0;

    (void)state;
    const char *address = mapping_address(OBJECT(""), strlen(OBJECT("")), &len);
    assert_int_equal(len, 13);
    assert_memory_equal(address, "ada@x.example", len);
    assert_null(mapping_address("{}", 2, &len));
}

/* Strings of characters that take most in JSON, for fields whose names do, too. */
static void there_is_room_for_values_however_they_are_written(void **state)
{
    static char escaped[(size_t)6 * OBJECT_MAX + 1], names[] = "\n\n\n\n\n\n\n\n\n\n\n\n";
    char address[ADDRESS_MAX];
    struct export_field fields[8];

    (void)state;
    for (size_t i = 0; i + 6 < sizeof escaped; i += 6)
        (void)snprintf(escaped + i, 7, "\\u0001");
    memset(address, 'a', sizeof address);
    for (size_t n = 1; n <= 8; n++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT((size_t)8 * OBJECT_MAX);
        struct bytes values[8] = { 0 };

        fields[n - 1] = (struct export_field){ .is_property = n % 2, .name = n % 2 ? names : zip };
        CLEANUP(mapping_freep) struct mapping *mapping = mapping_new(fields, n);
        int64_t room = mapping_room_for_values(mapping, OBJECT_MAX);
        assert_true(room > 0 && room < OBJECT_MAX / 6);
        /* One has all of it, the others are unset; the quotes are extra. */
        values[0] = (struct bytes){ escaped, 6 * (size_t)room };
        mapping_add(mapping, &out, address, sizeof address, values);
        mapping_add_unset(mapping, &out, UINT64_MAX, values);
        assert_true(strbuf_ok(&out) && out.len + 2 <= OBJECT_MAX);
        assert_true(out.len + FRAME_AT_MOST > OBJECT_MAX); /* not wasteful either */
        assert_true(mapping_room_for_values(mapping, 300) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_takes_the_form_that_klaviyo_wants),
        cmocka_unit_test(a_property_that_lost_its_value_is_unset_by_name),
        cmocka_unit_test(what_klaviyo_does_not_have_is_left_out),
        cmocka_unit_test(a_profile_holds_its_groups_and_no_nulls),
        cmocka_unit_test(the_address_of_an_object_is_found_again),
        cmocka_unit_test(there_is_room_for_values_however_they_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
