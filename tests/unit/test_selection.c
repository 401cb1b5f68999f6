#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/export/selection.h"

enum {
    LEDGER = 1,
    CONFIRMED = 2,
    LISTED = 4,
    REJECTED = 8,
    SETTLED = 16,
    NOT_TEXT = 32,
    CUT = 64,
    POSTED = 128,
    REMOVING = 256,
    PERHAPS = 512
};

/* A candidate and what it points to. */
struct someone {
    struct member member;
    struct ledger_row row;
};

/* profile NULL: no member has the address. */
static struct candidate candidate(struct someone *one, const char *profile, const char *address,
                                  unsigned flags)
{
    const struct bytes email = { address, address ? strlen(address) : 0 };

    one->member = (struct member){
        .profile_id = { profile, profile ? strlen(profile) : 0 },
        .address = email,
        .not_a_string = flags & NOT_TEXT,
        .cut_not_ascii = flags & CUT,
    };
    one->row = (struct ledger_row){
        .address = email,
        .confirmed = flags & CONFIRMED,
        .listed = flags & LISTED,
        .rejected = flags & REJECTED,
        .settled = flags & SETTLED,
        .posted = flags & POSTED,
        .removing = flags & REMOVING,
        .perhaps_listed = flags & PERHAPS,
        .fingerprint = 7,
    };
    return (struct candidate){ .member = profile ? &one->member : NULL,
                               .row = flags & LEDGER ? &one->row : NULL };
}

static enum selection_step offer(struct selection *s, const char *profile, const char *address,
                                 unsigned flags)
{
    struct someone one;
    struct candidate c = candidate(&one, profile, address, flags);
    const char *code = NULL;

    return selection_offer(s, &c, &code);
}

static void assert_sum(const struct selection *s)
{
    const struct run_counts *c = &s->counts;

    assert_int_equal(c->read, c->invalid + c->duplicate + c->unchanged + c->selected);
}

static void rows_with_one_address_are_one_profile_and_duplicates(void **state)
{
    CLEANUP(selection_release) struct selection s;
    struct someone one;
    struct candidate first = candidate(&one, "p1", "a@x.example", 0);

    (void)state;
    selection_init(&s, false, 0);
    assert_int_equal(offer(&s, "p1", "a@x.example", 0), SELECTION_FINE);
    assert_int_equal(selection_compare(&s, &first, 1), SELECTION_SEND);
    assert_int_equal(offer(&s, "p2", "a@x.example", 0), SELECTION_NOTHING);
    assert_int_equal(offer(&s, "p3", "a@x.example", 0), SELECTION_NOTHING);
    assert_int_equal(offer(&s, "p4", "b@x.example", 0), SELECTION_FINE);
    assert_int_equal(s.counts.duplicate, 2);
}

static void a_profile_of_two_segments_is_read_once(void **state)
{
    CLEANUP(selection_release) struct selection s;

    (void)state;
    selection_init(&s, false, 0);
    assert_int_equal(offer(&s, "p1", NULL, 0), SELECTION_INVALID);
    assert_int_equal(offer(&s, "p1", NULL, 0), SELECTION_NOTHING);
    assert_int_equal(offer(&s, "p2", NULL, 0), SELECTION_INVALID);
    assert_int_equal(offer(&s, "p3", "a@x.example", LEDGER | SETTLED), SELECTION_SETTLED);
    assert_int_equal(offer(&s, "p3", "a@x.example", LEDGER | SETTLED), SELECTION_NOTHING);
    assert_int_equal(s.counts.read, 3);
    assert_int_equal(s.counts.duplicate, 0);
    assert_sum(&s);
}

static void bad_addresses_are_invalid_each_by_itself(void **state)
{
    CLEANUP(selection_release) struct selection s;
    struct someone one;
    struct candidate c = candidate(&one, "p1", "nobody", 0);
    const char *code = NULL;

    (void)state;
    selection_init(&s, false, 0);
    assert_int_equal(selection_offer(&s, &c, &code), SELECTION_INVALID);
    assert_string_equal(code, "email_malformed");
    c = candidate(&one, "p2", "nobody", 0);
    assert_int_equal(selection_offer(&s, &c, &code), SELECTION_INVALID);
    c = candidate(&one, "p3", NULL, NOT_TEXT);
    assert_int_equal(selection_offer(&s, &c, &code), SELECTION_INVALID);
    assert_string_equal(code, "email_malformed");
    c = candidate(&one, "p4", NULL, 0);
    assert_int_equal(selection_offer(&s, &c, &code), SELECTION_INVALID);
    assert_string_equal(code, "email_missing");
    c = candidate(&one, "p5", "what-is-left-of-it", CUT);
    assert_int_equal(selection_offer(&s, &c, &code), SELECTION_INVALID);
    assert_string_equal(code, "email_not_ascii");
    assert_int_equal(s.counts.invalid, 5);
    assert_sum(&s);
}

static void what_is_sent_follows_from_the_ledger(void **state)
{
    static const struct {
        unsigned flags;
        int64_t fingerprint;
        bool full;
        enum selection_choice choice;
        bool was_listed;
        bool names_list;
    } cases[] = {
        { 0, 7, false, SELECTION_SEND, false, true },
        { LEDGER | CONFIRMED, 7, false, SELECTION_UNCHANGED, true, false },
        { LEDGER | CONFIRMED, 8, false, SELECTION_SEND, true, false },
        { LEDGER | CONFIRMED, 7, true, SELECTION_SEND, true, true },
        { LEDGER, 7, false, SELECTION_SEND, false, true },
        { LEDGER | POSTED, 7, false, SELECTION_SEND, false, true },
        { LEDGER | LISTED, 7, false, SELECTION_SEND, true, false },
        { LEDGER | CONFIRMED | REJECTED, 7, false, SELECTION_SEND_ISOLATED, false, true },
        { LEDGER | CONFIRMED | REJECTED | LISTED, 7, false, SELECTION_SEND_ISOLATED, true, false },
        { LEDGER | CONFIRMED | REMOVING, 7, false, SELECTION_SEND, false, true },
        { LEDGER | PERHAPS, 7, false, SELECTION_SEND, false, true },
        { LEDGER | CONFIRMED | PERHAPS, 7, false, SELECTION_UNCHANGED, true, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(selection_release) struct selection s;
        struct someone one;
        struct candidate c = candidate(&one, "p", "a@x.example", cases[i].flags);
        const char *code;

        selection_init(&s, cases[i].full, 0);
        assert_int_equal(selection_offer(&s, &c, &code), SELECTION_FINE);
        assert_int_equal(selection_compare(&s, &c, cases[i].fingerprint), cases[i].choice);
        assert_int_equal(selection_was_listed(&c), cases[i].was_listed);
        assert_int_equal(selection_names_list(&s, &c), cases[i].names_list);
        assert_sum(&s);
    }
}

static void who_is_no_member_any_more_has_left_if_perhaps_on_the_list(void **state)
{
    static const struct {
        unsigned flags;
        enum selection_step step;
        int sent; /* by an earlier pass of this run */
    } cases[] = {
        { LEDGER | CONFIRMED, SELECTION_LEFT, 0 },
        { LEDGER, SELECTION_NEVER_ON, 0 },
        { LEDGER | POSTED, SELECTION_LEFT, 0 },
        { LEDGER | POSTED | REJECTED, SELECTION_LEFT, 0 },
        { LEDGER | CONFIRMED | REJECTED, SELECTION_NEVER_ON, 0 },
        { LEDGER | CONFIRMED | REJECTED | LISTED, SELECTION_LEFT, 0 },
        { LEDGER | LISTED, SELECTION_LEFT, 0 },
        { LEDGER | CONFIRMED | REMOVING, SELECTION_LEFT, 0 },
        { LEDGER | PERHAPS, SELECTION_LEFT, 0 },
        { LEDGER | CONFIRMED | REJECTED | PERHAPS, SELECTION_LEFT, 0 },
        { LEDGER | SETTLED, SELECTION_LEFT, 1 },
        { LEDGER | SETTLED | CONFIRMED, SELECTION_LEFT, 1 },
        { LEDGER | SETTLED | CONFIRMED | REJECTED, SELECTION_NOTHING, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(selection_release) struct selection s;
        struct someone one;
        struct candidate c = candidate(&one, NULL, "a@x.example", cases[i].flags);
        bool left = cases[i].step == SELECTION_LEFT;

        selection_init(&s, false, 3);
        selection_count_row(&s, c.row);
        assert_int_equal(offer(&s, NULL, "a@x.example", cases[i].flags), cases[i].step);
        assert_int_equal(s.counts.left, 3 + left);
        assert_int_equal(s.counts.there, 3 + left);
        assert_int_equal(s.counts.selected, cases[i].sent);
        assert_sum(&s);
    }
}

static void rows_of_an_earlier_pass_count_once(void **state)
{
    CLEANUP(selection_release) struct selection s;

    (void)state;
    selection_init(&s, false, 0);
    assert_int_equal(offer(&s, NULL, "a@x.example", LEDGER | SETTLED), SELECTION_LEFT);
    assert_int_equal(offer(&s, "p", "b@x.example", LEDGER | SETTLED), SELECTION_SETTLED);
    assert_int_equal(offer(&s, "q", "b@x.example", LEDGER | SETTLED), SELECTION_NOTHING);
    assert_int_equal(s.counts.read, 3);
    assert_int_equal(s.counts.selected, 2);
    assert_int_equal(s.counts.duplicate, 1);
    assert_int_equal(s.counts.left, 1);
    assert_sum(&s);
}

/* The limit and the guards are about the members as they are now. */
static void who_was_planned_by_an_earlier_pass_and_left_is_no_member(void **state)
{
    CLEANUP(selection_release) struct selection s;

    (void)state;
    selection_init(&s, false, 0);
    (void)offer(&s, NULL, "a@x.example", LEDGER | SETTLED);
    (void)offer(&s, NULL, "b@x.example", LEDGER | SETTLED | CONFIRMED | REJECTED);
    (void)offer(&s, NULL, "c@x.example", LEDGER | CONFIRMED);
    (void)offer(&s, "p", "d@x.example", LEDGER | SETTLED);
    (void)offer(&s, "q", NULL, 0);
    assert_int_equal(s.counts.selected, 3);
    assert_int_equal(s.counts.gone, 2);
    assert_int_equal(s.fresh, 1);
    assert_int_equal(selection_distinct(&s), 1);
    assert_int_equal(selection_members(&s), 2);
    assert_sum(&s);
}

static void a_winner_that_is_too_large_keeps_its_duplicates(void **state)
{
    CLEANUP(selection_release) struct selection s;

    (void)state;
    selection_init(&s, false, 0);
    assert_int_equal(offer(&s, "p1", "a@x.example", 0), SELECTION_FINE);
    assert_string_equal(selection_too_large(&s), "profile_too_large");
    assert_int_equal(offer(&s, "p2", "a@x.example", 0), SELECTION_NOTHING);
    assert_int_equal(s.counts.invalid, 1);
    assert_int_equal(s.counts.duplicate, 1);
    assert_int_equal(selection_distinct(&s), 0);
    assert_sum(&s);
}

static void new_addresses_and_faults_by_code_are_counted(void **state)
{
    CLEANUP(selection_release) struct selection s;
    struct someone p2, p3, p4;
    struct candidate fresh = candidate(&p2, "p2", "b@x.example", 0);
    struct candidate listed = candidate(&p3, "p3", "c@x.example", LEDGER | LISTED);
    struct candidate refused = candidate(&p4, "p4", "d@x.example", LEDGER | CONFIRMED | REJECTED);

    (void)state;
    selection_init(&s, false, 0);
    (void)offer(&s, "p0", NULL, 0);
    (void)offer(&s, "p1", "a@x.example", NOT_TEXT);
    (void)offer(&s, "p2", "b@x.example", 0);
    (void)selection_compare(&s, &fresh, 1);
    (void)offer(&s, "p2", "b@x.example", 0); /* of a second segment */
    (void)offer(&s, "p3", "c@x.example", LEDGER | LISTED);
    (void)selection_compare(&s, &listed, 1);
    (void)offer(&s, "p4", "d@x.example", LEDGER | CONFIRMED | REJECTED);
    (void)selection_compare(&s, &refused, 1);
    (void)offer(&s, "p5", "e@x.example", LEDGER | SETTLED);
    (void)offer(&s, "p6", "f@x.example", LEDGER | SETTLED | LISTED);
    (void)offer(&s, "p7", "g@x.example", 0);
    (void)selection_too_large(&s);
    assert_int_equal(s.seen, 9);
    assert_int_equal(s.fresh, 3); /* p2, p4, p5 */
    assert_int_equal(s.invalid_by[SELECTION_EMAIL_MISSING], 1);
    assert_int_equal(s.invalid_by[SELECTION_EMAIL_MALFORMED], 1);
    assert_int_equal(s.invalid_by[SELECTION_PROFILE_TOO_LARGE], 1);
    assert_sum(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_with_one_address_are_one_profile_and_duplicates),
        cmocka_unit_test(a_profile_of_two_segments_is_read_once),
        cmocka_unit_test(bad_addresses_are_invalid_each_by_itself),
        cmocka_unit_test(what_is_sent_follows_from_the_ledger),
        cmocka_unit_test(who_is_no_member_any_more_has_left_if_perhaps_on_the_list),
        cmocka_unit_test(rows_of_an_earlier_pass_count_once),
        cmocka_unit_test(who_was_planned_by_an_earlier_pass_and_left_is_no_member),
        cmocka_unit_test(a_winner_that_is_too_large_keeps_its_duplicates),
        cmocka_unit_test(new_addresses_and_faults_by_code_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
