#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/guards.h"

enum { INVALID = 1U << GUARD_TOO_MANY_INVALID, JUMP = 1U << GUARD_SIZE_JUMPED };
enum { PLAN = 1U << GUARD_OVER_PLAN_LIMIT, FLOWS = 1U << GUARD_LIST_STARTS_FLOWS };
enum { UNLIMITED = 1000000000 };

static const struct guards_names names = { .export_name = "newsletter",
                                           .list_id = "ListA1",
                                           .email_field = "contact.email" };

static struct guard_rules usual(void)
{
    return (
        struct guard_rules){ .max_invalid_percent = 20, .size_guard = true, .last_distinct = -1 };
}

/* All is read; Klaviyo knows of no plan and no flow. */
static struct guards_facts read_all(int64_t read, int64_t invalid, int64_t fresh)
{
    return (struct guards_facts){ .expected = read,
                                  .seen = read,
                                  .read_all = true,
                                  .read = read,
                                  .invalid = invalid,
                                  .distinct = read - invalid,
                                  .fresh = fresh,
                                  .invalid_by = { [SELECTION_EMAIL_MISSING] = invalid },
                                  .plan = GUARDS_UNKNOWN,
                                  .flows = GUARDS_UNKNOWN };
}

static unsigned tripped(const struct guard_rules *rules, const struct guards_facts *facts)
{
    struct guards_verdict verdict;

    guards_judge(rules, UNLIMITED, facts, &names, &verdict);
    assert_int_not_equal(verdict.state, GUARDS_UNDECIDED);
    assert_int_equal(verdict.state == GUARDS_TRIPPED, verdict.tripped != 0);
    return verdict.tripped;
}

/* ---- at which figures each one trips ---- */

static void more_than_the_share_and_at_least_100_invalid_members_trip(void **state)
{
    static const struct {
        int64_t read, invalid, percent;
        unsigned tripped;
    } cases[] = {
        { 500, 100, 20, 0 },        { 499, 100, 20, INVALID },        { 400, 99, 20, 0 },
        { 99, 99, 20, 0 },          { 100, 100, 20, INVALID },        { 1000, 200, 20, 0 },
        { 1000, 201, 20, INVALID }, { 1000, 1000, 100, 0 },           { 1000, 100, 0, INVALID },
        { 1000, 99, 0, 0 },         { 1000000, 200001, 20, INVALID },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct guard_rules rules = usual();
        struct guards_facts facts = read_all(cases[i].read, cases[i].invalid, 0);

        rules.max_invalid_percent = cases[i].percent;
        assert_int_equal(tripped(&rules, &facts), cases[i].tripped);
    }
}

static void more_than_twice_or_less_than_half_of_the_last_run_trips_from_1000_on(void **state)
{
    static const struct {
        int64_t last, now;
        unsigned tripped;
    } cases[] = {
        { 1000, 2000, 0 },    { 1000, 2001, JUMP }, { 1000, 500, 0 }, { 1000, 499, JUMP },
        { 999, 0, 0 },        { 1000, 0, JUMP },    { 100, 999, 0 },  { 100, 1000, JUMP },
        { 500, 1000, 0 },     { 499, 1000, JUMP },  { -1, 50000, 0 }, { 1999, 1000, 0 },
        { 2001, 1000, JUMP }, { 0, 50000, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct guard_rules rules = usual();
        struct guards_facts facts = read_all(cases[i].now, 0, 0);

        rules.last_distinct = cases[i].last;
        assert_int_equal(tripped(&rules, &facts), cases[i].tripped);
        rules.size_guard = false;
        assert_int_equal(tripped(&rules, &facts), 0);
    }
}

static void new_addresses_that_do_not_fit_into_the_plan_trip_where_they_shall_stop(void **state)
{
    static const struct {
        int64_t fresh, used, maximum;
        unsigned tripped;
    } cases[] = {
        { 10, 90, 100, 0 },    { 11, 90, 100, PLAN }, { 0, 120, 100, 0 },
        { 1, 120, 100, PLAN }, { 900, 90, -1, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct guard_rules rules = usual();
        struct guards_facts facts = read_all(1000, 0, cases[i].fresh);
        struct guards_verdict verdict;

        facts.plan = GUARDS_KNOWN;
        facts.plan_used = cases[i].used;
        facts.plan_maximum = cases[i].maximum;
        guards_judge(&rules, UNLIMITED, &facts, &names, &verdict);
        assert_int_equal(verdict.state, GUARDS_PASS); /* warn */
        assert_int_equal(verdict.plan_warned, cases[i].tripped != 0);
        rules.plan = GUARD_PLAN_IGNORE;
        guards_judge(&rules, UNLIMITED, &facts, &names, &verdict);
        assert_false(verdict.plan_warned);
        rules.plan = GUARD_PLAN_STOP;
        assert_int_equal(tripped(&rules, &facts), cases[i].tripped);
        facts.plan = GUARDS_UNKNOWN;
        assert_int_equal(tripped(&rules, &facts), 0);
    }
}

static void live_flows_and_more_than_1000_new_addresses_trip_until_they_are_known(void **state)
{
    struct guard_rules rules = usual();
    struct guards_facts facts = read_all(5000, 0, 1001);

    (void)state;
    facts.flows = GUARDS_KNOWN;
    assert_int_equal(tripped(&rules, &facts), 0);
    facts.live_flows = 2;
    assert_int_equal(tripped(&rules, &facts), FLOWS);
    facts.fresh = 1000;
    assert_int_equal(tripped(&rules, &facts), 0);
    facts.fresh = 5000;
    rules.flows_known = true;
    assert_int_equal(tripped(&rules, &facts), 0);
    rules.flows_known = false;
    facts.flows = GUARDS_UNKNOWN;
    assert_int_equal(tripped(&rules, &facts), 0);
}

/* ---- confirmations, trials, runs that have begun ---- */

static struct guards_facts all_wrong(void)
{
    struct guards_facts facts = read_all(10000, 5000, 5000);

    facts.invalid_by[SELECTION_EMAIL_MISSING] = 4000;
    facts.invalid_by[SELECTION_EMAIL_MALFORMED] = 1000;
    facts.plan = facts.flows = GUARDS_KNOWN;
    facts.plan_used = 90;
    facts.plan_maximum = 100;
    facts.live_flows = 1;
    return facts;
}

static void a_confirmed_guard_does_not_trip_and_the_others_do(void **state)
{
    struct guards_facts facts = all_wrong();
    struct guard_rules rules = usual();

    (void)state;
    rules.last_distinct = 1000;
    rules.plan = GUARD_PLAN_STOP;
    for (unsigned confirmed = 0; confirmed < 1U << GUARDS_N; confirmed++) {
        rules.confirmed = confirmed;
        assert_int_equal(tripped(&rules, &facts), (INVALID | JUMP | PLAN | FLOWS) & ~confirmed);
    }
}

static void a_trial_and_a_run_that_began_to_import_have_no_guards(void **state)
{
    struct guards_facts facts = all_wrong();
    struct guard_rules trial = usual(), passed = usual();
    struct guards_questions none;

    (void)state;
    trial.trial = true;
    passed.passed = true;
    assert_int_equal(tripped(&trial, &facts), 0);
    assert_int_equal(tripped(&passed, &facts), 0);
    none = guards_questions(&trial, UNLIMITED, &facts);
    assert_false(none.plan || none.flows);
    none = guards_questions(&passed, UNLIMITED, &facts);
    assert_false(none.plan || none.flows);
}

/* ---- in words ---- */

static void two_guards_at_once_are_both_named_with_their_numbers(void **state)
{
    struct guards_facts facts = all_wrong();
    struct guard_rules rules = usual();
    struct guards_verdict verdict;

    (void)state;
    rules.last_distinct = 1000;
    rules.confirmed = PLAN | FLOWS;
    guards_judge(&rules, UNLIMITED, &facts, &names, &verdict);
    assert_int_equal(verdict.reason, REASON_TOO_MANY_INVALID);
    assert_string_equal(
        verdict.detail,
        "too_many_invalid: 5000 of 10000 members cannot be sent, --max-invalid is 20 %; by the "
        "e-mail field contact.email: email_missing 4000, email_malformed 1000; size_jumped: 5000 "
        "distinct addresses, the last run that succeeded had 1000. Where that is right: publish "
        "--export newsletter --confirm too_many_invalid --confirm size_jumped");
}

static void what_klaviyo_says_is_in_the_sentence(void **state)
{
    struct guards_facts facts = all_wrong();
    struct guard_rules rules = usual();
    struct guards_verdict verdict;

    (void)state;
    rules.plan = GUARD_PLAN_STOP;
    rules.confirmed = INVALID | JUMP;
    guards_judge(&rules, UNLIMITED, &facts, &names, &verdict);
    assert_int_equal(verdict.reason, REASON_OVER_PLAN_LIMIT);
    assert_string_equal(
        verdict.detail,
        "over_plan_limit: 5000 new addresses, and Klaviyo's plan has room for 10 (90 of 100 "
        "profiles are used); list_starts_flows: 5000 new addresses, and 1 live flow begins with "
        "being added to list ListA1 (export update --flows-known says that this is wanted). Where "
        "that is right: publish --export newsletter --confirm over_plan_limit --confirm "
        "list_starts_flows");
}

static void the_limit_of_the_export_comes_first_and_nobody_is_asked(void **state)
{
    struct guards_facts facts = all_wrong();
    struct guard_rules rules = usual();
    struct guards_verdict verdict;

    (void)state;
    facts.plan = facts.flows = GUARDS_UNASKED;
    rules.plan = GUARD_PLAN_STOP;
    struct guards_questions ask = guards_questions(&rules, 4000, &facts);
    assert_false(ask.plan || ask.flows);
    guards_judge(&rules, 4000, &facts, &names, &verdict);
    assert_int_equal(verdict.state, GUARDS_TRIPPED);
    assert_int_equal(verdict.reason, REASON_OVER_PROFILE_LIMIT);
    assert_non_null(
        strstr(verdict.detail, "5000 distinct valid addresses, --max-profiles is 4000"));
    assert_non_null(strstr(verdict.detail, "too_many_invalid"));
}

static void long_names_are_cut_between_two_characters(void **state)
{
    char field[2001];
    struct guards_names odd = names;
    struct guards_facts facts = all_wrong();
    struct guard_rules rules = usual();
    struct guards_verdict verdict;

    (void)state;
    for (size_t i = 0; i + 2 < sizeof field; i += 2)
        memcpy(field + i, "\xc3\xa4", 3); /* ä: the cut at 300 bytes and all others are even */
    field[0] = 'x';
    field[1] = 'x';
    memmove(field, field + 1, strlen(field));
    odd.email_field = field;
    guards_judge(&rules, UNLIMITED, &facts, &odd, &verdict);
    assert_int_equal(verdict.state, GUARDS_TRIPPED);
    for (const char *c = verdict.detail; *c; c++)
        if ((unsigned char)*c == 0xc3)
            assert_int_equal((unsigned char)c[1], 0xa4);
}

/* ---- 1,000 random plans ---- */

static uint64_t seed = 20261126;

static uint32_t dice(uint32_t n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % n;
}

enum row { ROW_INVALID, ROW_DUPLICATE, ROW_KNOWN, ROW_NEW, ROW_AGAIN };

struct random_plan {
    enum row rows[6000];
    int64_t n;
    struct guard_rules rules;
    int64_t max_profiles, used, maximum, live_flows;
    bool plan_readable, flows_readable;
    int64_t asked_plan_at, asked_flows_at; /* the answer is there so many rows later */
    bool doubt_counted;
    int64_t doubtful;
};

static void throw_plan(struct random_plan *p)
{
    uint32_t invalid = dice(3) ? dice(20) : dice(100), fresh = dice(101);

    p->n = dice(2) ? dice(6000) : dice(400);
    for (int64_t i = 0; i < p->n; i++)
        p->rows[i] = dice(100) < invalid ? ROW_INVALID
                     : dice(100) < 5     ? (dice(2) ? ROW_DUPLICATE : ROW_AGAIN)
                     : dice(100) < fresh ? ROW_NEW
                                         : ROW_KNOWN;
    p->rules = (struct guard_rules){
        .max_invalid_percent = dice(4) ? 20 : dice(101),
        .size_guard = dice(4) > 0,
        .plan = (enum guard_plan)dice(3),
        .flows_known = dice(4) == 0,
        .confirmed = dice(3) ? 0 : dice(1U << GUARDS_N),
        .trial = dice(20) == 0,
        .passed = dice(20) == 0,
        .last_distinct = dice(3) ? (int64_t)dice(8000) : -1,
    };
    p->max_profiles = dice(10) ? 100000 : dice(6000) + 1;
    p->used = dice(10000);
    p->maximum = dice(8) ? (int64_t)dice(14000) : -1;
    p->live_flows = dice(3);
    p->plan_readable = dice(3) > 0;
    p->flows_readable = dice(3) > 0;
    p->asked_plan_at = p->asked_flows_at = -1;
    p->doubt_counted = dice(2) > 0;
    p->doubtful = dice(3) ? 0 : dice(2000); /* who are fine after all */
    for (int64_t i = 0; i < p->n; i++)
        p->doubtful += p->rows[i] == ROW_INVALID;
}

static void see_row(struct guards_facts *f, enum row row)
{
    f->seen++;
    if (row == ROW_AGAIN) /* of two segments */
        return;
    f->read++;
    if (row == ROW_INVALID) {
        f->invalid++;
        f->invalid_by[dice(SELECTION_CODES)]++;
    }
    f->distinct += row == ROW_KNOWN || row == ROW_NEW;
    f->fresh += row == ROW_NEW;
}

/* Klaviyo's answers come some rows after the question. */
static void hear(struct random_plan *p, struct guards_facts *f, int64_t row)
{
    struct guards_questions ask = guards_questions(&p->rules, p->max_profiles, f);

    if (ask.plan && p->asked_plan_at < 0)
        p->asked_plan_at = row + dice(2000);
    if (ask.flows && p->asked_flows_at < 0)
        p->asked_flows_at = row + dice(2000);
    if (p->asked_plan_at >= 0 && row >= p->asked_plan_at) {
        f->plan = p->plan_readable ? GUARDS_KNOWN : GUARDS_UNKNOWN;
        f->plan_used = p->used;
        f->plan_maximum = p->maximum;
    }
    if (p->asked_flows_at >= 0 && row >= p->asked_flows_at) {
        f->flows = p->flows_readable ? GUARDS_KNOWN : GUARDS_UNKNOWN;
        f->live_flows = p->live_flows;
    }
}

/* The contract's sentences, over the whole plan. */
static unsigned expected_guards(const struct random_plan *p)
{
    int64_t read = 0, invalid = 0, distinct = 0, fresh = 0, last = p->rules.last_distinct;
    unsigned set = 0;

    for (int64_t i = 0; i < p->n; i++) {
        read += p->rows[i] != ROW_AGAIN;
        invalid += p->rows[i] == ROW_INVALID;
        distinct += p->rows[i] == ROW_KNOWN || p->rows[i] == ROW_NEW;
        fresh += p->rows[i] == ROW_NEW;
    }
    if (p->rules.trial || p->rules.passed)
        return 0;
    if (invalid >= 100 && invalid * 100 > p->rules.max_invalid_percent * read)
        set |= INVALID;
    if (p->rules.size_guard && last > 0 &&
        ((distinct >= 1000 && distinct > 2 * last) || (last >= 1000 && 2 * distinct < last)))
        set |= JUMP;
    if (p->rules.plan == GUARD_PLAN_STOP && p->plan_readable && p->maximum >= 0 && fresh > 0 &&
        fresh + p->used > p->maximum)
        set |= PLAN;
    if (p->flows_readable && p->live_flows > 0 && fresh > 1000 && !p->rules.flows_known)
        set |= FLOWS;
    return set & ~p->rules.confirmed;
}

static int64_t distinct_of(const struct random_plan *p)
{
    int64_t distinct = 0;

    for (int64_t i = 0; i < p->n; i++)
        distinct += p->rows[i] == ROW_KNOWN || p->rows[i] == ROW_NEW;
    return distinct;
}

static void play(struct random_plan *p, int *passed_early, int *stopped)
{
    bool over = distinct_of(p) > p->max_profiles, may_import = false;
    unsigned expected = expected_guards(p);
    struct guards_facts facts = { .expected = -1 };
    struct guards_verdict v = { .state = GUARDS_UNDECIDED };

    for (int64_t row = 0; v.state != GUARDS_TRIPPED && row < p->n + 5000; row++) {
        hear(p, &facts, row);
        guards_judge(&p->rules, p->max_profiles, &facts, &names, &v);
        may_import = may_import || v.state == GUARDS_PASS;
        if (may_import && !facts.read_all) {
            (*passed_early)++;
            break;
        }
        facts.expected = p->n;
        facts.doubt_counted = p->doubt_counted;
        facts.doubtful = p->doubtful;
        if (row < p->n)
            see_row(&facts, p->rows[row]);
        facts.read_all = row + 1 >= p->n;
    }
    /* Never an import after a guard, never a guard without its cause. */
    assert_int_equal(may_import, !over && expected == 0);
    if (may_import)
        return;
    (*stopped)++;
    assert_int_equal(v.state, GUARDS_TRIPPED);
    assert_string_equal(run_reason_name(v.reason), over                 ? "over_profile_limit"
                                                   : expected & INVALID ? "too_many_invalid"
                                                   : expected & JUMP    ? "size_jumped"
                                                   : expected & PLAN    ? "over_plan_limit"
                                                                        : "list_starts_flows");
    for (int i = 0; i < GUARDS_N; i++) {
        bool asked = !over || i < GUARD_OVER_PLAN_LIMIT;
        if (asked)
            assert_int_equal((v.tripped & GUARD_BIT(i)) != 0, (expected & GUARD_BIT(i)) != 0);
        if (v.tripped & GUARD_BIT(i))
            assert_non_null(strstr(v.detail, guard_name((enum guard)i)));
    }
}

static void of_1000_random_plans_none_imports_after_a_guard_or_stops_without_a_cause(void **state)
{
    struct random_plan *plan = calloc(1, sizeof *plan);
    int passed_early = 0, stopped = 0;

    (void)state;
    assert_non_null(plan);
    for (int i = 0; i < 1000; i++) {
        throw_plan(plan);
        play(plan, &passed_early, &stopped);
    }
    free(plan);
    assert_true(passed_early > 100);
    assert_true(stopped > 300);
}

/* ---- when delivery may begin ---- */

static void delivery_begins_once_four_fifths_are_well_formed(void **state)
{
    struct guard_rules rules = usual();
    struct guards_facts facts = { .expected = 1000 };
    struct guards_verdict verdict;

    (void)state;
    for (int64_t n = 0; n <= 800; n++) {
        facts.seen = facts.read = facts.distinct = n;
        guards_judge(&rules, UNLIMITED, &facts, NULL, &verdict);
        assert_int_equal(verdict.state, n < 800 ? GUARDS_UNDECIDED : GUARDS_PASS);
    }
}

/* After how many fine ones of 10,000 members, where those that are invalid come first. */
static int64_t begins_after(int64_t doubtful, int64_t invalid, int64_t percent)
{
    struct guard_rules rules = usual();
    struct guards_facts facts = {
        .expected = 10000, .doubt_counted = true, .doubtful = doubtful, .flows = GUARDS_UNKNOWN
    };
    struct guards_verdict verdict = { .state = GUARDS_UNDECIDED };

    rules.max_invalid_percent = percent;
    facts.seen = facts.read = facts.invalid = invalid;
    for (;; facts.seen++, facts.read++, facts.distinct++) {
        guards_judge(&rules, UNLIMITED, &facts, NULL, &verdict);
        if (verdict.state != GUARDS_UNDECIDED)
            return facts.distinct;
        assert_true(facts.seen < facts.expected);
    }
}

static void delivery_begins_once_the_doubtful_cannot_be_too_many(void **state)
{
    static const struct {
        int64_t doubtful, invalid, percent, after;
    } cases[] = {
        { 0, 0, 20, 0 },       { 99, 0, 20, 0 },        { 99, 50, 20, 0 },     { 100, 0, 20, 400 },
        { 100, 100, 20, 400 }, { 1000, 400, 20, 4000 }, { 1000, 0, 50, 1000 }, { 100, 0, 0, 9901 },
        { 99, 0, 0, 0 },       { 10000, 0, 20, 8000 },  { 50, 100, 20, 400 }, /* more than was
                                                                                 thought possible */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(begins_after(cases[i].doubtful, cases[i].invalid, cases[i].percent),
                         cases[i].after);
}

static void a_small_segment_is_delivered_at_once(void **state)
{
    struct guard_rules rules = usual();
    struct guards_facts facts = { .expected = 99 };
    struct guards_verdict verdict;

    (void)state;
    rules.last_distinct = 60;
    guards_judge(&rules, UNLIMITED, &facts, NULL, &verdict);
    assert_int_equal(verdict.state, GUARDS_PASS);
    facts.expected = -1;
    guards_judge(&rules, UNLIMITED, &facts, NULL, &verdict);
    assert_int_equal(verdict.state, GUARDS_UNDECIDED);
}

/* ---- names ---- */

static void a_set_of_guards_is_written_and_read_as_names(void **state)
{
    char text[GUARD_SET_BYTES];

    (void)state;
    for (unsigned set = 0; set < 1U << GUARDS_N; set++) {
        guard_set_write(set, text);
        assert_int_equal(guard_set_read(text), set);
    }
    assert_string_equal(text, "too_many_invalid,size_jumped,over_plan_limit,list_starts_flows");
    assert_int_equal(guard_set_read(NULL), 0);
    assert_int_equal(guard_set_read("whim,size_jumped,,"), JUMP);
}

static void members_are_counted_where_that_can_begin_early(void **state)
{
    struct guard_rules rules = usual();

    (void)state;
    assert_int_equal(guards_want_count(&rules, false), GUARDS_COUNT_NOTHING);
    assert_int_equal(guards_want_count(&rules, true), GUARDS_COUNT_DOUBTFUL);
    rules.max_invalid_percent = 49;
    assert_int_equal(guards_want_count(&rules, false), GUARDS_COUNT_NOTHING);
    rules.max_invalid_percent = 50;
    assert_int_equal(guards_want_count(&rules, false), GUARDS_COUNT_MEMBERS);
    assert_int_equal(guards_want_count(&rules, true), GUARDS_COUNT_DOUBTFUL);
    rules = usual();
    rules.confirmed = GUARD_BIT(GUARD_SIZE_JUMPED);
    assert_int_equal(guards_want_count(&rules, false), GUARDS_COUNT_NOTHING);
    rules.confirmed = GUARD_BIT(GUARD_TOO_MANY_INVALID);
    assert_int_equal(guards_want_count(&rules, true), GUARDS_COUNT_MEMBERS);
    rules = usual();
    rules.passed = true;
    assert_int_equal(guards_want_count(&rules, true), GUARDS_COUNT_MEMBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_counted_where_that_can_begin_early),
        cmocka_unit_test(more_than_the_share_and_at_least_100_invalid_members_trip),
        cmocka_unit_test(more_than_twice_or_less_than_half_of_the_last_run_trips_from_1000_on),
        cmocka_unit_test(new_addresses_that_do_not_fit_into_the_plan_trip_where_they_shall_stop),
        cmocka_unit_test(live_flows_and_more_than_1000_new_addresses_trip_until_they_are_known),
        cmocka_unit_test(a_confirmed_guard_does_not_trip_and_the_others_do),
        cmocka_unit_test(a_trial_and_a_run_that_began_to_import_have_no_guards),
        cmocka_unit_test(two_guards_at_once_are_both_named_with_their_numbers),
        cmocka_unit_test(what_klaviyo_says_is_in_the_sentence),
        cmocka_unit_test(the_limit_of_the_export_comes_first_and_nobody_is_asked),
        cmocka_unit_test(long_names_are_cut_between_two_characters),
        cmocka_unit_test(of_1000_random_plans_none_imports_after_a_guard_or_stops_without_a_cause),
        cmocka_unit_test(delivery_begins_once_four_fifths_are_well_formed),
        cmocka_unit_test(delivery_begins_once_the_doubtful_cannot_be_too_many),
        cmocka_unit_test(a_small_segment_is_delivered_at_once),
        cmocka_unit_test(a_set_of_guards_is_written_and_read_as_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
