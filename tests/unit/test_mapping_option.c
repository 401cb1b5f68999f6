#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/admin/export.h"
#include "worker/admin/field_path.h"
#include "worker/admin/mapping_option.h"
#include "worker/admin/name.h"

enum { WORDS_MAX = 16 };

static const struct command *export_add_command(void)
{
    assert_string_equal(export_commands[0].words, "export add");
    return &export_commands[0];
}

/* Parses the options behind the required ones. */
static bool read(const char *const words[], size_t n, struct mapping_options *mapping,
                 struct error *err)
{
    const char *all[WORDS_MAX] = { "x", "--connection=c", "--list=l", "--segment=s",
                                   "--email-field=e" };
    CLEANUP(arguments_release) struct arguments arguments = { 0 };
    struct context context = { .arguments = &arguments };

    for (size_t i = 0; i < n; i++)
        all[5 + i] = words[i];
    assert_true(arguments_parse(&arguments, export_add_command(), 5 + n, all, err));
    bool ok = mapping_options_read(&context, mapping, err);
    assert_int_equal(context.wrong_usage, !ok);
    return ok;
}

static void fields_come_in_order_attributes_first(void **state)
{
    CLEANUP(mapping_options_release) struct mapping_options mapping = MAPPING_OPTIONS_INIT;
    const char *const words[] = { "--property=points=loyalty.points",
                                  "--attribute=first_name=name.first", "--property", "a b=x",
                                  "--attribute=location.city=city" };
    static const char *const expected[][3] = { { "attribute", "first_name", "name.first" },
                                               { "attribute", "location.city", "city" },
                                               { "property", "points", "loyalty.points" },
                                               { "property", "a b", "x" } };
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(read(words, 5, &mapping, &err));
    assert_int_equal(mapping.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(mapping.fields[i].target, expected[i][0]);
        assert_string_equal(mapping.fields[i].name, expected[i][1]);
        assert_int_equal(mapping.fields[i].path.n, 1 + (strchr(expected[i][2], '.') != NULL));
        assert_memory_equal(mapping.fields[i].path.parts[0], expected[i][2],
                            strlen(mapping.fields[i].path.parts[0]));
    }
}

static void what_klaviyo_does_not_have_is_refused_with_the_nearest(void **state)
{
    static const struct {
        const char *option;
        const char *advice;
    } cases[] = {
        { "--attribute=firstname=x", "did you mean first_name?" },
        { "--attribute=FirstName=x", "did you mean first_name?" },
        { "--attribute=organisation=x", "did you mean organization?" },
        { "--attribute=zip=x", "did you mean location.zip?" },
        { "--attribute=location.timezon=x", "did you mean location.timezone?" },
        { "--attribute=shoe=x", "--property shoe=FIELD" },
        { "--attribute=email=x", "--email-field" },
        { "--attribute=phone_number=x", "--allow-phone-number" },
        { "--attribute=title", "NAME=FIELD" },
        { "--attribute=title=", "path of a field" },
        { "--attribute=title=a..b", "path of a field" },
        { "--property==x", "empty" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mapping_options mapping = MAPPING_OPTIONS_INIT;
        struct error err = ERROR_INIT;
        const char *const words[] = { cases[i].option };
        assert_false(read(words, 1, &mapping, &err));
        if (!strstr(err.text, cases[i].advice))
            fail_msg("%s: %s", cases[i].option, err.text);
        assert_null(mapping.fields);
    }
}

static void a_phone_number_needs_to_be_allowed(void **state)
{
    CLEANUP(mapping_options_release) struct mapping_options mapping = MAPPING_OPTIONS_INIT;
    const char *const words[] = { "--attribute=phone_number=phone", "--allow-phone-number" };
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(read(words, 2, &mapping, &err));
    assert_int_equal(mapping.n, 1);
}

static void a_name_is_given_once_to_each_kind(void **state)
{
    CLEANUP(mapping_options_release) struct mapping_options mapping = MAPPING_OPTIONS_INIT;
    const char *const both[] = { "--attribute=title=a", "--property=title=a" };
    const char *const twice[] = { "--property=p=a", "--property=p=b" };
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(read(both, 2, &mapping, &err));
    mapping_options_release(&mapping);
    assert_false(read(twice, 2, &mapping, &err));
    assert_string_equal(err.text, "--property p is given twice");
}

static void a_path_is_names_with_dots_between(void **state)
{
    static const struct {
        const char *text;
        const char *parts[4]; /* none: not a path */
    } cases[] = {
        { "a", { "a" } },
        { "name.first", { "name", "first" } },
        { "\"traits.email\"", { "traits.email" } },
        { "traits.\"e.mail\".x", { "traits", "e.mail", "x" } },
        { "\"say \"\"hi\"\"\"", { "say \"hi\"" } },
        { "\"\"\"\"", { "\"" } },
        { "\"plain\"", { "plain" } },
        { "a b", { "a b" } },
        { "@profile_id", { "@profile_id" } },
        { "\"@x\"", { "@x" } },
        { "x.@profile_id", { "x", "@profile_id" } },
        { "\"@profile_id\"", { NULL } },
        { "@profile", { NULL } },
        { "@profile_id.x", { NULL } },
        { "", { NULL } },
        { ".", { NULL } },
        { "a.", { NULL } },
        { ".a", { NULL } },
        { "a..b", { NULL } },
        { "\"\"", { NULL } },
        { "\"a", { NULL } },
        { "a\"b", { NULL } },
        { "\"a\"b", { NULL } },
        { "\"a\".", { NULL } },
        { "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3", { NULL } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(field_path_release) struct field_path path = FIELD_PATH_INIT;
        struct context context = { .settings = NULL };
        struct error err = ERROR_INIT;
        bool ok = field_path_parse(&context, "--x", cases[i].text, &path, &err);

        if (ok != (cases[i].parts[0] != NULL) || context.wrong_usage == ok)
            fail_msg("%s", cases[i].text);
        for (size_t n = 0; ok && n < path.n; n++)
            assert_string_equal(path.parts[n], cases[i].parts[n]);
        assert_true(!ok || !cases[i].parts[path.n]);
    }
}

static void a_name_has_1_to_200_characters_and_none_that_steer(void **state)
{
    static const struct {
        const char *name;
        bool fine;
    } cases[] = {
        { "a", true },     { "größer als", true }, { "名前", true },
        { "", false },     { " a", false },        { "a ", false },
        { "a\tb", false }, { "a\x7f", false },     { "a\xc2\x85", false },
    };
    char longest[2 * 200 + 3] = "";
    struct context context = { .settings = NULL };
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(name_check(&context, "thing", cases[i].name, &err), cases[i].fine);
    for (size_t i = 0; i < 200; i++)
        memcpy(longest + 2 * i, "\xc3\xbc", 3);
    assert_true(name_check(&context, "thing", longest, &err));
    memcpy(longest + 400, "x", 2);
    assert_false(name_check(&context, "thing", longest, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_order_attributes_first),
        cmocka_unit_test(what_klaviyo_does_not_have_is_refused_with_the_nearest),
        cmocka_unit_test(a_phone_number_needs_to_be_allowed),
        cmocka_unit_test(a_name_is_given_once_to_each_kind),
        cmocka_unit_test(a_path_is_names_with_dots_between),
        cmocka_unit_test(a_name_has_1_to_200_characters_and_none_that_steer),
    };
    return cmocka_run_group_tests_name("mapping_option", tests, NULL, NULL);
}
