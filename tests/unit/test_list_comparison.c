/* A list in Klaviyo against what an export knows: every combination, and a random walk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "worker/export/list_comparison.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void add(struct list_comparison *comparison, const char *address, unsigned known)
{
    struct error err = ERROR_INIT;

    assert_true(list_comparison_add(comparison, address, strlen(address), known, &err));
}

static void assert_counts(const struct list_comparison *comparison, const struct list_counts *want)
{
    struct list_counts got = list_comparison_counts(comparison);

    assert_int_equal(got.profiles, want->profiles);
    assert_int_equal(got.ours, want->ours);
    assert_int_equal(got.ours_left, want->ours_left);
    assert_int_equal(got.missing, want->missing);
    assert_int_equal(got.missing_left, want->missing_left);
    assert_int_equal(got.not_ours, want->not_ours);
    assert_int_equal(got.not_ours_members, want->not_ours_members);
    assert_int_equal(got.without_address, want->without_address);
    assert_int_equal(got.not_sent, want->not_sent);
}

static void each_combination_counts_as_it_should(void **state)
{
    static const struct {
        unsigned known; /* 0: not added */
        bool on_list;
        struct list_counts want;
    } table[] = {
        { KNOWN_OURS | KNOWN_MEMBER, true, { .profiles = 1, .ours = 1 } },
        { KNOWN_OURS | KNOWN_MEMBER, false, { .missing = 1 } },
        { KNOWN_OURS, true, { .profiles = 1, .ours = 1, .ours_left = 1 } },
        { KNOWN_OURS, false, { .missing = 1, .missing_left = 1 } },
        { KNOWN_MEMBER,
          true,
          { .profiles = 1, .not_ours = 1, .not_ours_members = 1, .not_sent = 1 } },
        { KNOWN_MEMBER, false, { .not_sent = 1 } },
        { 0, true, { .profiles = 1, .not_ours = 1 } },
        { 0, false, { .profiles = 0 } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        CLEANUP(list_comparison_release) struct list_comparison comparison;

        list_comparison_init(&comparison);
        if (table[i].known)
            add(&comparison, "ada@shop.example", table[i].known);
        if (table[i].on_list)
            assert_int_equal(list_comparison_meet(&comparison, "ada@shop.example"),
                             !(table[i].known & KNOWN_OURS));
        assert_counts(&comparison, &table[i].want);
        assert_int_equal(list_comparison_look(&comparison, "ada@shop.example", 16),
                         table[i].known | (table[i].known && table[i].on_list ? KNOWN_MET : 0U));
    }
}

static void klaviyos_spelling_does_not_count(void **state)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;

    (void)state;
    list_comparison_init(&comparison);
    add(&comparison, "ada@shop.example", KNOWN_OURS | KNOWN_MEMBER);
    assert_false(list_comparison_meet(&comparison, "Ada@Shop.EXAMPLE"));
    assert_counts(&comparison, &(struct list_counts){ .profiles = 1, .ours = 1 });
}

static void ours_that_comes_twice_counts_once(void **state)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;

    (void)state;
    list_comparison_init(&comparison);
    add(&comparison, "ada@shop.example", KNOWN_OURS);
    for (int i = 0; i < 3; i++)
        assert_false(list_comparison_meet(&comparison, "ada@shop.example"));
    assert_counts(&comparison, &(struct list_counts){ .profiles = 1, .ours = 1, .ours_left = 1 });
}

static void profiles_without_an_address_and_endless_ones_are_not_ours(void **state)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;
    char endless[100000];

    (void)state;
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    list_comparison_init(&comparison);
    add(&comparison, "ada@shop.example", KNOWN_OURS | KNOWN_MEMBER);
    assert_true(list_comparison_meet(&comparison, ""));
    assert_true(list_comparison_meet(&comparison, endless));
    assert_true(list_comparison_meet(&comparison, "j\xc3\xbcrgen@shop.example"));
    assert_counts(
        &comparison,
        &(struct list_counts){ .profiles = 3, .not_ours = 3, .without_address = 1, .missing = 1 });
}

static void an_empty_export_knows_nobody(void **state)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;

    (void)state;
    list_comparison_init(&comparison);
    assert_true(list_comparison_meet(&comparison, "ada@shop.example"));
    assert_int_equal(list_comparison_look(&comparison, "ada@shop.example", 16), 0);
    assert_counts(&comparison, &(struct list_counts){ .profiles = 1, .not_ours = 1 });
}

/* Against counts that are kept next to it. */
static void a_random_list_is_counted_as_by_hand(void **state)
{
    enum { PEOPLE = 20000 };
    CLEANUP(list_comparison_release) struct list_comparison comparison;
    struct list_counts want = { .profiles = 0 };
    char address[64];

    (void)state;
    list_comparison_init(&comparison);
    static unsigned char known[PEOPLE];
    for (int i = 0; i < PEOPLE; i++) {
        known[i] = (unsigned char)randombytes_uniform(4);
        (void)snprintf(address, sizeof address, "user%d@shop.example", i);
        if (known[i])
            add(&comparison, address, known[i]);
    }
    for (int i = 0; i < PEOPLE; i++) {
        bool ours = known[i] & KNOWN_OURS, member = known[i] & KNOWN_MEMBER;
        bool on_list = randombytes_uniform(3) > 0;
        want.not_sent += member && !ours;
        want.missing += ours && !on_list;
        want.missing_left += ours && !on_list && !member;
        want.profiles += on_list;
        want.ours += on_list && ours;
        want.ours_left += on_list && ours && !member;
        want.not_ours += on_list && !ours;
        want.not_ours_members += on_list && !ours && member;
        (void)snprintf(address, sizeof address, "user%d@shop.example", i);
        if (on_list)
            assert_int_equal(list_comparison_meet(&comparison, address), !ours);
    }
    assert_counts(&comparison, &want);
}

static void there_is_a_limit(void **state)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;
    struct error err = ERROR_INIT;

    (void)state;
    list_comparison_init(&comparison);
    comparison.n = LIST_COMPARISON_MAX;
    assert_false(list_comparison_add(&comparison, "a", 1, KNOWN_MEMBER, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    comparison.n = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_combination_counts_as_it_should),
        cmocka_unit_test(klaviyos_spelling_does_not_count),
        cmocka_unit_test(ours_that_comes_twice_counts_once),
        cmocka_unit_test(profiles_without_an_address_and_endless_ones_are_not_ours),
        cmocka_unit_test(an_empty_export_knows_nobody),
        cmocka_unit_test(a_random_list_is_counted_as_by_hand),
        cmocka_unit_test(there_is_a_limit),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
