#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/simulator/address.h"
#include "tests/simulator/attributes.h"
#include "tests/simulator/import.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define JOB(rows)                                                                                   \
    "{\"data\":{\"type\":\"profile-bulk-import-job\",\"attributes\":{\"profiles\":{\"data\":[" rows \
    "]}},\"relationships\":{\"lists\":{\"data\":[{\"type\":\"list\",\"id\":\"L1\"}]}}}}"
#define ROW(attributes) "{\"type\":\"profile\",\"attributes\":{" attributes "}}"

#define META(meta) \
    "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\"},\"meta\":" meta "}"

static struct behaviour settings;

static void parse(struct import *import, const char *body)
{
    import_parse(import, body, strlen(body), &settings);
}

static void rows_and_lists_are_found(void **state)
{
    static const char body[] =
        JOB(ROW("\"email\":\" Ada@Shop.Example \",\"first_name\":\"A\"") "," ROW(
            "\"external_id\":\"x-1\",\"properties\":{\"a\":[{\"b\":null}]}"));
    CLEANUP(import_release) struct import import;

    (void)state;
    parse(&import, body);
    assert_int_equal(import.problems.n, 0);
    assert_int_equal(import.n, 2);
    assert_string_equal(import_text(&import, import.rows[0].email), "ada@shop.example");
    assert_string_equal(import_text(&import, import.rows[1].external_id), "x-1");
    assert_int_equal(import.rows[1].email.n, 0);
    assert_int_equal(import.n_lists, 1);
    assert_string_equal(import_text(&import, import.lists[0]), "L1");
    assert_memory_equal(body + import.rows[1].attributes.at, "{\"external_id\"", 14);
}

static void an_escaped_address_is_resolved(void **state)
{
    CLEANUP(import_release) struct import import;

    (void)state;
    parse(&import, JOB(ROW("\"\\u0065mail\":\"\\u0041b\\u0040x.example\"")));
    assert_int_equal(import.problems.n, 0);
    assert_string_equal(import_text(&import, import.rows[0].email), "ab@x.example");
}

static void properties_are_taken_away_by_name(void **state)
{
    static const struct {
        const char *unset, *left;
    } cases[] = {
        { "\"a\"", "{\"properties\":{\"b\":2}}" },
        { "[\"a\",\"none\",\"b\"]", "{\"properties\":{}}" },
        { "[]", "{\"properties\":{\"a\":1,\"b\":2}}" },
    };
    static const char lower[] = "{\"properties\":{\"a\":1,\"b\":2}}";

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        CLEANUP(import_release) struct import import;
        CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);
        CLEANUP(strbuf_release) struct strbuf upper = STRBUF_INIT(1000);
        CLEANUP(strbuf_release) struct strbuf merged = STRBUF_INIT(1000);

        strbuf_addf(&body,
                    JOB("{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\"},"
                        "\"meta\":{\"patch_properties\":{\"unset\":%s}}}"),
                    cases[i].unset);
        parse(&import, body.data);
        assert_int_equal(import.problems.n, 0);
        attributes_without((struct attributes){ .at = body.data + import.rows[0].unset.at,
                                                .n = import.rows[0].unset.n },
                           &upper);
        attributes_merge((struct attributes){ .at = lower, .n = sizeof lower - 1 },
                         (struct attributes){ .at = upper.data, .n = upper.len }, NULLS_CLEAR,
                         &merged);
        assert_string_equal(merged.data, cases[i].left);
    }
}

/* One line a case: a row, and the pointer and the words of the one thing that is wrong. */
static void each_fault_of_a_row_has_its_pointer(void **state)
{
    static const struct {
        const char *body, *pointer, *detail;
    } cases[] = {
        { JOB(ROW("\"email\":\"bob@\"")), "attributes/email", "Invalid email address" },
        { JOB(ROW("\"email\":5")), "attributes/email", "This field must be a string." },
        { JOB(ROW("\"email\":\"a@x.example\",\"anonymous_id\":\"1\"")), "attributes/anonymous_id",
          "'anonymous_id' is not a valid field for the resource 'profile'." },
        { JOB(ROW("\"email\":\"a@x.example\",\"location\":{\"planet\":\"b\"}")),
          "attributes/location/planet",
          "'planet' is not a valid field for the resource 'profile'." },
        { JOB(ROW("\"email\":\"a@x.example\",\"properties\":[]")), "attributes/properties",
          "This field must be an object." },
        { JOB("{\"type\":\"person\",\"attributes\":{\"email\":\"a@x.example\"}}"), "type",
          "Resource type must be 'profile'." },
        { JOB("{\"attributes\":{\"email\":\"a@x.example\"}}"), "type", "This field is required." },
        { JOB("{\"type\":\"profile\"}"), "attributes", "This field is required." },
        { JOB("{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\"},\"more\":1}"),
          "more", "'more' is not a valid field for the resource 'profile'." },
        { JOB("{\"type\":7,\"attributes\":{\"email\":\"a@x.example\"}}"), "type",
          "This field must be a string." },
        { JOB(ROW("\"email\":7")), "attributes/email", "This field must be a string." },
        { JOB(ROW("\"email\":\"a@x.example\",\"external_id\":[]")), "attributes/external_id",
          "This field must be a string." },
        { JOB(ROW("\"email\":\"a@x.example\",\"title\":{}")), "attributes/title",
          "This field must be a string." },
        { JOB("{\"type\":\"profile\",\"attributes\":[]}"), "attributes",
          "This field must be an object." },
        { JOB(META("7")), "meta", "This field must be an object." },
        { JOB(META("{\"more\":1}")), "meta/more",
          "'more' is not a valid field for the resource 'profile'." },
        { JOB(META("{\"patch_properties\":7}")), "meta/patch_properties",
          "This field must be an object." },
        { JOB(META("{\"patch_properties\":{\"more\":1}}")), "meta/patch_properties/more",
          "'more' is not a valid field for the resource 'profile'." },
        { JOB(META("{\"patch_properties\":{\"unset\":7}}")), "meta/patch_properties/unset",
          "This field must be an array." },
        { JOB(META("{\"patch_properties\":{\"unset\":[7]}}")), "meta/patch_properties/unset",
          "This field must be a string." },
        { JOB("7"), "", "This field must be an object." },
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        CLEANUP(import_release) struct import import;

        parse(&import, cases[i].body);
        assert_int_equal(import.problems.list[0].row, 0);
        assert_string_equal(import.problems.list[0].pointer, cases[i].pointer);
        assert_string_equal(import.problems.list[0].detail, cases[i].detail);
    }
}

static void every_bad_row_is_listed(void **state)
{
    CLEANUP(import_release) struct import import;

    (void)state;
    parse(&import, JOB(ROW("\"email\":\"x\"") "," ROW("\"email\":\"a@x.example\"") "," ROW(
                       "\"email\":null") "," ROW("\"email\":\"y\",\"bad\":1")));
    assert_int_equal(import.problems.n, 4);
    assert_int_equal(import.problems.list[0].row, 0);
    assert_int_equal(import.problems.list[1].row, 2);
    assert_int_equal(import.problems.list[2].row, 3);
    assert_int_equal(import.problems.list[3].row, 3);
}

static void a_fault_of_the_document_is_about_no_row(void **state)
{
    static const struct {
        const char *body, *pointer;
    } cases[] = {
        { "", "/data" },
        { "{", "/data" },
        { "[]", "" },
        { "{}", "/data" },
        { "{\"data\":1}", "/data" },
        { JOB(""), "/data/attributes/profiles/data" },
        { JOB(ROW("\"email\":\"a@x.example\"") ","), "/data" },
        { "{\"data\":{\"type\":\"profile-bulk-import-job\",\"attributes\":{\"more\":1}}}",
          "/data/attributes/more" },
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        CLEANUP(import_release) struct import import;

        parse(&import, cases[i].body);
        assert_true(import.problems.n > 0);
        assert_int_equal(import.problems.list[0].row, PROBLEM_NO_ROW);
        assert_string_equal(import.problems.list[0].pointer, cases[i].pointer);
    }
}

/* A body of n small rows, the last one padded to row_bytes. */
static char *big_body(size_t n, size_t row_bytes, size_t *body_n)
{
    static const char head[] = "{\"data\":{\"type\":\"profile-bulk-import-job\",\"attributes\":"
                               "{\"profiles\":{\"data\":[";
    static const char row[] = "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\","
                              "\"title\":\"";
    struct strbuf out = STRBUF_INIT((size_t)64 * 1024 * 1024);

    strbuf_add_str(&out, head);
    for (size_t i = 0; i < n; i++) {
        size_t from = out.len;

        strbuf_add_str(&out, row);
        while (i == n - 1 && out.len - from + 3 < row_bytes)
            strbuf_add_str(&out, "x");
        strbuf_add_str(&out, i == n - 1 ? "\"}}" : "\"}},");
    }
    strbuf_add_str(&out, "]}}}}");
    *body_n = out.len;
    return strbuf_take(&out);
}

static void ten_thousand_rows_are_allowed_and_no_more(void **state)
{
    (void)state;
    for (size_t n = IMPORT_ROWS_MAX; n <= IMPORT_ROWS_MAX + 1; n++) {
        CLEANUP(import_release) struct import import;
        size_t body_n;
        char *body = big_body(n, 0, &body_n);

        import_parse(&import, body, body_n, &settings);
        assert_int_equal(import.problems.n, n > IMPORT_ROWS_MAX);
        free(body);
    }
}

static void a_row_may_have_100000_bytes_and_no_more(void **state)
{
    (void)state;
    for (size_t n = IMPORT_ROW_BYTES_MAX; n <= IMPORT_ROW_BYTES_MAX + 1; n++) {
        CLEANUP(import_release) struct import import;
        size_t body_n;
        char *body = big_body(2, n, &body_n);

        import_parse(&import, body, body_n, &settings);
        assert_int_equal(import.rows[1].bytes, n);
        assert_int_equal(import.problems.n, n > IMPORT_ROW_BYTES_MAX);
        free(body);
    }
}

static void a_bad_address_may_be_left_to_the_job(void **state)
{
    CLEANUP(import_release) struct import import;

    (void)state;
    settings.email_check = PLACE_IMPORT_ERROR;
    parse(&import, JOB(ROW("\"email\":\"bob@\"")));
    settings.email_check = PLACE_SYNC;
    assert_int_equal(import.problems.n, 0);
    assert_int_equal(import.failures.n, 1);
}

static void the_shape_tells_which_rows_have_the_same_members(void **state)
{
    CLEANUP(import_release) struct import import;

    (void)state;
    parse(
        &import,
        JOB(ROW("\"email\":\"a@x.example\",\"properties\":{\"a\":1}") "," ROW("\"email\":\"b@x.example\",\"properties\":{\"a\":[2]}") "," ROW(
            "\"email\":\"c@x.example\",\"properties\":{\"b\":1}") "," ROW("\"email\":\"d@x.example\",\"properties\":{\"a\":null}")));
    assert_int_equal(import.problems.n, 0);
    assert_true(import.rows[0].shape == import.rows[1].shape);
    assert_true(import.rows[0].shape != import.rows[2].shape);
    assert_true(import.rows[3].shape == 0);
}

static void addresses_are_judged(void **state)
{
    static const char *const good[] = { "a@x.example", "a.b+c@x-y.example", "o'brien@x.co",
                                        "1@2.museum", "a@b.c.de" };
    static const char *const bad[] = { "",         "a",         "a@",           "@x.example",
                                       "a@x",      "a@x.e",     "a@x.1e",       "a b@x.example",
                                       ".a@x.de",  "a.@x.de",   "a..b@x.de",    "a@-x.de",
                                       "a@x-.de",  "a@x..de",   "a@.de",        "a@x.de.",
                                       "a@b@x.de", "a\"b@x.de", "\xc3\xa9@x.de" };

    (void)state;
    for (size_t i = 0; i < LEN(good); i++)
        if (!address_is_valid(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < LEN(bad); i++)
        if (address_is_valid(bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
}

static void attributes_are_merged(void **state)
{
    static const struct {
        const char *lower, *upper;
        enum nulls nulls;
        const char *want;
    } cases[] = {
        { "{}", "{}", NULLS_IGNORED, "{}" },
        { "{\"a\":1}", "{\"b\":2}", NULLS_IGNORED, "{\"a\":1,\"b\":2}" },
        { "{\"a\":1}", "{\"a\":null}", NULLS_IGNORED, "{\"a\":1}" },
        { "{\"a\":1,\"b\":2}", "{\"a\":null}", NULLS_CLEAR, "{\"b\":2}" },
        { "{\"properties\":{\"x\":1,\"y\":2}}", "{\"properties\":{\"y\":3,\"z\":[4]}}",
          NULLS_IGNORED, "{\"properties\":{\"x\":1,\"y\":3,\"z\":[4]}}" },
        { "{\"properties\":{\"x\":1}}", "{\"properties\":{\"x\":null}}", NULLS_CLEAR,
          "{\"properties\":{}}" },
        { "{\"other\":{\"x\":1}}", "{\"other\":{\"y\":2}}", NULLS_IGNORED,
          "{\"other\":{\"y\":2}}" },
        { "{}", "{ \"n\" : 123456789012345678901234567890 }", NULLS_IGNORED,
          "{\"n\":123456789012345678901234567890}" },
        { "{\"a\":1}", "{\"\\u0061\":2}", NULLS_IGNORED, "{\"a\":2}" },
        { "{\"properties\":null}", "{\"properties\":{\"x\":null,\"y\":1}}", NULLS_IGNORED,
          "{\"properties\":{\"y\":1}}" },
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);
        struct attributes lower = { .at = cases[i].lower, .n = strlen(cases[i].lower) };
        struct attributes upper = { .at = cases[i].upper, .n = strlen(cases[i].upper) };

        attributes_merge(lower, upper, cases[i].nulls, &out);
        assert_string_equal(out.data, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_lists_are_found),
        cmocka_unit_test(an_escaped_address_is_resolved),
        cmocka_unit_test(each_fault_of_a_row_has_its_pointer),
        cmocka_unit_test(every_bad_row_is_listed),
        cmocka_unit_test(a_fault_of_the_document_is_about_no_row),
        cmocka_unit_test(ten_thousand_rows_are_allowed_and_no_more),
        cmocka_unit_test(a_row_may_have_100000_bytes_and_no_more),
        cmocka_unit_test(a_bad_address_may_be_left_to_the_job),
        cmocka_unit_test(the_shape_tells_which_rows_have_the_same_members),
        cmocka_unit_test(addresses_are_judged),
        cmocka_unit_test(attributes_are_merged),
        cmocka_unit_test(properties_are_taken_away_by_name),
    };

    behaviour_init(&settings);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
