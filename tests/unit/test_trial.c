#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/trial.h"

/* The allocation that fails, counted from now; 0: none. */
static int failing;

char *__real_strndup(const char *text, size_t n);
char *__wrap_strndup(const char *text, size_t n);

char *__wrap_strndup(const char *text, size_t n)
{
    return failing > 0 && --failing == 0 ? NULL : __real_strndup(text, n);
}

static struct member member_of(const char *profile_id, const char *address)
{
    return (struct member){ .profile_id = { profile_id, strlen(profile_id) },
                            .address = { address, strlen(address) } };
}

/* As the scan does: is it considered, does it fit, then it is one of them. */
static bool offer(struct trial *trial, const char *profile_id, size_t object_bytes)
{
    CLEANUP(strbuf_release) struct strbuf object = STRBUF_INIT(1000000);
    struct member member = member_of(profile_id, "a@b.example");

    for (size_t i = 0; i < object_bytes; i++)
        strbuf_add(&object, "x", 1);
    if (!trial_considers(trial, &member) || !trial_wants(trial, &object))
        return false;
    assert_true(trial_add(trial, &member, &object));
    return true;
}

static void a_trial_takes_the_first_rows_and_no_more(void **state)
{
    CLEANUP(trial_release) struct trial trial;

    (void)state;
    trial_init(&trial, 2, NULL, 1000);
    assert_true(offer(&trial, "p1", 10));
    assert_false(trial_is_complete(&trial));
    assert_true(offer(&trial, "p2", 10));
    assert_true(trial_is_complete(&trial));
    assert_false(offer(&trial, "p3", 10));
    assert_int_equal(trial.n, 2);
    assert_string_equal(trial.row[0].profile_id, "p1");
    assert_string_equal(trial.row[1].profile_id, "p2");
    assert_string_equal(trial.row[1].address, "a@b.example");
    assert_int_equal(strlen(trial.row[1].object), 10);
}

static void rows_that_do_not_fit_into_one_request_are_left_out(void **state)
{
    CLEANUP(trial_release) struct trial trial;

    (void)state;
    trial_init(&trial, 3, NULL, 100);
    assert_true(offer(&trial, "p1", 60));
    assert_false(offer(&trial, "p2", 60));
    assert_true(offer(&trial, "p3", 38));
    assert_true(trial_is_complete(&trial)); /* nothing more could fit */
}

static void one_row_is_sent_however_large_it_is(void **state)
{
    CLEANUP(trial_release) struct trial trial;

    (void)state;
    trial_init(&trial, 3, NULL, 50);
    assert_true(offer(&trial, "p1", 60));
    assert_true(trial_is_complete(&trial));
}

static void one_profile_is_found_by_its_whole_id(void **state)
{
    CLEANUP(trial_release) struct trial trial;

    (void)state;
    trial_init(&trial, 1, "p10", 100);
    assert_false(offer(&trial, "p1", 10));
    assert_false(offer(&trial, "p100", 10));
    assert_false(trial.profile_seen);
    assert_true(offer(&trial, "p10", 10));
    assert_true(trial.profile_seen);
    assert_true(trial_is_complete(&trial));
}

static void a_profile_that_may_not_be_sent_is_looked_for_no_further(void **state)
{
    CLEANUP(trial_release) struct trial trial;
    struct member member = member_of("p1", "broken");

    (void)state;
    trial_init(&trial, 1, "p1", 100);
    assert_true(trial_considers(&trial, &member));
    trial.code = "email_malformed";
    assert_true(trial_is_complete(&trial));
    assert_int_equal(trial.n, 0);
}

static void a_row_of_the_ledger_is_nobodys_profile(void **state)
{
    CLEANUP(trial_release) struct trial trial;

    (void)state;
    trial_init(&trial, 1, "p1", 100);
    assert_false(trial_considers(&trial, NULL));
    assert_false(trial.profile_seen);
}

static void a_row_without_memory_is_no_row(void **state)
{
    CLEANUP(trial_release) struct trial trial;
    CLEANUP(strbuf_release) struct strbuf object = STRBUF_INIT(100);
    struct member member = member_of("p1", "a@b.example");

    (void)state;
    trial_init(&trial, 2, NULL, 1000);
    strbuf_add_str(&object, "{}");
    for (int i = 1; i <= 3; i++) {
        failing = i;
        assert_false(trial_add(&trial, &member, &object));
        assert_int_equal(trial.n, 0);
        assert_int_equal(trial.bytes, 0);
    }
    assert_true(trial_add(&trial, &member, &object));
    assert_int_equal(trial.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_takes_the_first_rows_and_no_more),
        cmocka_unit_test(rows_that_do_not_fit_into_one_request_are_left_out),
        cmocka_unit_test(one_row_is_sent_however_large_it_is),
        cmocka_unit_test(one_profile_is_found_by_its_whole_id),
        cmocka_unit_test(a_profile_that_may_not_be_sent_is_looked_for_no_further),
        cmocka_unit_test(a_row_of_the_ledger_is_nobodys_profile),
        cmocka_unit_test(a_row_without_memory_is_no_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
