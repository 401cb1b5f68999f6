#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/removal.h"

/*
 * A removal among people: what the ledger has, whom Klaviyo knows, who is on the list. All are
 * numbers; p7@x.example has the id ID7.
 */
enum { PEOPLE_MAX = 3000, BODY_MAX = 200000, ASKED_MAX = PROFILE_LOOKUP_MAX };

struct person {
    bool left, begun, forgotten; /* in the ledger */
    bool held;                   /* by another export on the same list */
    bool known, on_list;         /* in Klaviyo */
    bool cursed;                 /* a request with it is refused as a whole */
    bool stuck;                  /* a removal with it is; a look-up is not */
    int absent;                  /* not 0: a removal with it is refused with that status */
};

struct asked {
    struct pending_request *pending;
    int people[LIST_REMOVAL_MAX];
    size_t n;
    bool next_page;
};

struct people {
    struct removal removal;
    struct request_schedule schedule;
    struct person person[PEOPLE_MAX];
    int n;
    int64_t now_ms;
    struct asked asked[REMOVAL_LOOKUPS + 1];
    size_t n_asked;
    size_t n_lookups, n_removals, n_refused;
    size_t page_rows; /* of an answer */
    bool endless;     /* each page names a next one */
    bool list_is_gone, list_asked;
    int claims_refused;
    enum list_claim claim;
    char body[BODY_MAX];
};

static const struct removal_figures some = {
    .wanted = true, .account_known = true, .left = 1, .there = 10, .members = 9
};

static uint32_t longest_pause(void)
{
    return UINT32_MAX;
}

static void people_init(struct people *w, int n)
{
    memset(w, 0, sizeof *w);
    w->schedule =
        (struct request_schedule){ .random = longest_pause, .imports_until_ms = INT64_MAX };
    w->now_ms = 1000;
    w->page_rows = PROFILE_LOOKUP_MAX;
    w->claim = LIST_CLAIM_ALONE;
    w->n = n;
    for (int i = 0; i < n; i++)
        w->person[i] = (struct person){ .left = true, .known = true, .on_list = true };
    removal_init(&w->removal, "L1", false);
    removal_decide(&w->removal, &some, "news", "shop");
}

/* Of six digits. */
static int number_of(const char *digits)
{
    int number = 0;

    for (int i = 0; i < 6; i++)
        number = number * 10 + digits[i] - '0';
    return number;
}

static void address_of(int number, char *out)
{
    (void)snprintf(out, 32, "p%06d@x.example", number);
}

static int number_after(const char *after)
{
    return after ? number_of(after + 1) + 1 : 0;
}

/* ---- effects ---- */

static void fetch(struct people *w, const struct effect *e, struct effect_result *r)
{
    r->leavers.items = calloc((size_t)e->max, sizeof *r->leavers.items);
    assert_non_null(r->leavers.items);
    for (int i = number_after(e->after); i < w->n && (int64_t)r->leavers.n < e->max; i++) {
        char address[32];

        if (!w->person[i].left || w->person[i].forgotten)
            continue;
        address_of(i, address);
        w->person[i].begun = true;
        r->leavers.items[r->leavers.n++].address = strdup(address);
    }
}

static void release_held(struct people *w, const struct effect *e, struct effect_result *r)
{
    int last = -1;

    for (int i = number_after(e->after), n = 0; i < w->n && n < 700; i++, n++) {
        w->person[i].forgotten = w->person[i].held;
        last = i;
    }
    if (last >= 0)
        assert_true(asprintf(&r->last, "p%06d@x.example", last) > 0);
}

static void forget(struct people *w, const struct effect *e)
{
    for (size_t i = 0; i < e->leavers->n; i++) {
        struct person *p = &w->person[number_of(e->leavers->items[i].address + 1)];

        if (e->leavers->items[i].kept)
            continue;
        assert_true(p->begun);
        assert_false(p->known && p->on_list); /* only after the 204 */
        p->forgotten = true;
    }
}

static void read_numbers(struct asked *asked, const char *text, const char *mark)
{
    asked->n = 0;
    for (const char *at = text; (at = strstr(at, mark)); at += strlen(mark))
        asked->people[asked->n++] = number_of(at + strlen(mark));
}

static void send(struct people *w, const struct effect *e, struct effect_result *r)
{
    struct asked *asked = &w->asked[w->n_asked++];

    assert_true(w->n_asked <= REMOVAL_LOOKUPS + 1);
    asked->pending = e->pending;
    asked->next_page = e->request.link != NULL;
    if (e->endpoint == ENDPOINT_PROFILES) {
        read_numbers(asked, e->request.query[0].value, "\"p");
        w->n_lookups += !asked->next_page;
        assert_in_range(asked->n, 1, PROFILE_LOOKUP_MAX);
    } else {
        assert_int_equal(e->endpoint, ENDPOINT_LIST_REMOVE);
        read_numbers(asked, e->request.body[0].bytes, "\"ID");
        w->n_removals++;
        assert_in_range(asked->n, 1, LIST_REMOVAL_MAX);
    }
    request_schedule_started(&w->schedule, e->pending, w->now_ms);
    r->sent = EFFECT_SENT;
}

static void perform_one(struct people *w, struct effect *e)
{
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    if (e->kind == EFFECT_SEND) {
        send(w, e, &result);
        return;
    }
    if (e->kind == EFFECT_CLAIM_LIST)
        result.claim = w->claims_refused-- > 0 ? LIST_CLAIM_BUSY : w->claim;
    else if (e->kind == EFFECT_RELEASE_HELD)
        release_held(w, e, &result);
    else if (e->kind == EFFECT_FETCH_LEAVERS)
        fetch(w, e, &result);
    else if (e->kind == EFFECT_FORGET_LEAVERS)
        forget(w, e);
    else
        fail();
    assert_true(removal_performed(&w->removal, e, &result, w->now_ms, &err));
}

/* ---- Klaviyo ---- */

static bool is_cursed(const struct people *w, const struct asked *asked)
{
    bool removes = asked->pending->endpoint == ENDPOINT_LIST_REMOVE;

    for (size_t i = 0; i < asked->n; i++) {
        const struct person *p = &w->person[asked->people[i]];

        if (p->cursed || (removes && p->stuck))
            return true;
    }
    return false;
}

static void answer_lookup(struct people *w, const struct asked *asked)
{
    size_t from = asked->next_page ? w->page_rows : 0;
    size_t to = asked->next_page ? asked->n : w->page_rows;
    size_t len = (size_t)snprintf(w->body, BODY_MAX, "{\"data\":[");
    bool any = false;

    for (size_t i = from; i < to && i < asked->n; i++) {
        if (!w->person[asked->people[i]].known)
            continue;
        len += (size_t)snprintf(w->body + len, BODY_MAX - len,
                                "%s{\"type\":\"profile\",\"id\":\"ID%06d\",\"attributes\":"
                                "{\"email\":\" P%06d@X.example\"}}",
                                any ? "," : "", asked->people[i], asked->people[i]);
        any = true;
    }
    (void)snprintf(w->body + len, BODY_MAX - len,
                   "%s{\"type\":\"profile\",\"id\":\"other\",\"attributes\":{\"email\":"
                   "\"somebody.else@x.example\"}}],\"links\":{\"next\":%s}}",
                   any ? "," : "",
                   w->endless || (!asked->next_page && w->page_rows < asked->n)
                       ? "\"https://k.example/api/profiles?page=2\""
                       : "null");
}

static void land(struct people *w, size_t which, struct asked *out)
{
    *out = w->asked[which];
    w->asked[which] = w->asked[--w->n_asked];
    request_schedule_ended(&w->schedule, out->pending);
}

/* That of a removal of somebody who is not on the list; 0: it is none. */
static int absent_status(const struct people *w, const struct asked *asked)
{
    int status = 0;

    for (size_t i = 0; i < asked->n && asked->pending->endpoint == ENDPOINT_LIST_REMOVE; i++)
        if (w->person[asked->people[i]].absent)
            status = w->person[asked->people[i]].absent;
    return status;
}

static void respond(struct people *w, size_t which)
{
    static struct asked asked;
    struct verdict verdict = { .action = VERDICT_OK };
    struct response response = { .transport = TRANSPORT_ANSWERED, .status = 200 };
    struct error err = ERROR_INIT;

    land(w, which, &asked);
    response.tag = asked.pending;
    response.endpoint = asked.pending->endpoint;
    verdict.status = absent_status(w, &asked);
    if (verdict.status > 0) {
        w->n_refused++;
        verdict.action = verdict.status == 409 ? VERDICT_BATCH_REFUSED : VERDICT_GONE;
    } else if (is_cursed(w, &asked) ||
               (w->list_is_gone && response.endpoint == ENDPOINT_LIST_REMOVE)) {
        w->n_refused++;
        verdict.action = w->n_refused % 2 ? VERDICT_BATCH_REFUSED : VERDICT_TOO_LARGE;
    } else if (response.endpoint == ENDPOINT_PROFILES) {
        answer_lookup(w, &asked);
        response.body = w->body;
        response.body_bytes = strlen(w->body);
    } else {
        for (size_t i = 0; i < asked.n; i++)
            w->person[asked.people[i]].on_list = false;
    }
    struct delivery_reply reply = { asked.pending, &response, &verdict, w->now_ms };
    assert_true(removal_response(&w->removal, &w->schedule, &reply, &err));
}

/* As the delivery does with what a later attempt may mend. */
static void lose_answer(struct people *w, size_t which)
{
    static struct asked asked;

    land(w, which, &asked);
    if (asked.pending->endpoint == ENDPOINT_LIST_REMOVE) /* it did its work all the same */
        for (size_t i = 0; i < asked.n; i++)
            w->person[asked.people[i]].on_list = false;
    request_schedule_again(&w->schedule, asked.pending, w->now_ms, 0);
}

/* Broken JSON with the right status. */
static void garble_answer(struct people *w, size_t which)
{
    static struct asked asked;
    struct verdict verdict = { .action = VERDICT_OK };
    char body[] = "{\"data\":[{";
    struct response response = { .transport = TRANSPORT_ANSWERED,
                                 .status = 200,
                                 .endpoint = ENDPOINT_PROFILES,
                                 .body = body,
                                 .body_bytes = strlen(body) };
    struct error err = ERROR_INIT;

    land(w, which, &asked);
    struct delivery_reply reply = { asked.pending, &response, &verdict, w->now_ms };
    assert_true(removal_response(&w->removal, &w->schedule, &reply, &err));
}

static void settle(struct people *w)
{
    struct effect effect;

    for (int n = 0; removal_next(&w->removal, &w->schedule, w->now_ms, &effect); n++) {
        assert_true(n < 10000);
        perform_one(w, &effect);
    }
}

static uint32_t random_state;

static uint32_t dice(uint32_t sides)
{
    random_state = random_state * 1664525U + 1013904223U;
    return (random_state >> 8) % sides;
}

static void ask_for_list(struct people *w)
{
    if (!removal_wants_list(&w->removal))
        return;
    w->list_asked = true;
    if (!w->list_is_gone)
        removal_list_is_there(&w->removal);
}

static void pass_time(struct people *w)
{
    int64_t due = removal_due_ms(&w->removal, &w->schedule, w->now_ms);

    assert_true(due < REQUEST_SCHEDULE_NEVER);
    w->now_ms = due > w->now_ms ? due : w->now_ms + 1;
}

/* losses: of 100 responses. */
static void run(struct people *w, uint32_t losses)
{
    for (int n = 0; !removal_is_over(&w->removal); n++) {
        assert_true(n < 200000);
        settle(w);
        if (w->list_is_gone && removal_wants_list(&w->removal))
            return;
        ask_for_list(w);
        if (w->n_asked == 0) {
            if (!removal_is_over(&w->removal))
                pass_time(w);
            continue;
        }
        size_t which = dice((uint32_t)w->n_asked);
        if (dice(100) < losses)
            lose_answer(w, which);
        else
            respond(w, which);
    }
}

static void assert_all_gone(const struct people *w)
{
    for (int i = 0; i < w->n; i++) {
        const struct person *p = &w->person[i];

        if (p->cursed || (p->stuck && p->known))
            assert_true(p->left && !p->forgotten);
        else if (p->held)
            assert_true(p->on_list && p->forgotten);
        else
            assert_true(p->left ? p->forgotten && !(p->known && p->on_list) : p->on_list);
    }
}

/* ---- tests ---- */

static void look_ups_are_a_hundred_and_removals_a_thousand(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 2500);
    run(&w, 0);
    assert_all_gone(&w);
    assert_int_equal(w.n_lookups, 25);
    assert_int_equal(w.n_removals, 3);
    removal_release(&w.removal);
}

static void whom_klaviyo_does_not_know_is_gone(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 10);
    for (int i = 0; i < 10; i++)
        w.person[i].known = false;
    run(&w, 0);
    assert_all_gone(&w);
    assert_int_equal(w.n_removals, 0);
    removal_release(&w.removal);
}

static void what_another_export_has_there_stays_and_is_forgotten_here(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 2000);
    w.claim = LIST_CLAIM_SHARED;
    for (int i = 0; i < 2000; i += 2)
        w.person[i].held = true;
    run(&w, 0);
    assert_all_gone(&w);
    assert_int_equal(w.n_removals, 1);
    removal_release(&w.removal);
}

static void all_pages_are_read(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 150);
    w.page_rows = 60;
    run(&w, 0);
    assert_all_gone(&w);
    removal_release(&w.removal);
}

static void a_look_up_that_cannot_be_read_is_made_again_and_named(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 10);
    settle(&w);
    garble_answer(&w, 0);
    assert_string_equal(w.schedule.unread,
                        "Klaviyo's answer to profiles is malformed: it is not JSON");
    run(&w, 0);
    assert_int_equal(w.n_lookups, 2);
    assert_all_gone(&w);
    removal_release(&w.removal);
}

static void who_is_refused_alone_is_kept(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 1000);
    w.person[123].cursed = true;
    run(&w, 0);
    assert_all_gone(&w);
    assert_true(w.n_refused <= 2 * 7 + 1);
    removal_release(&w.removal);
}

static void who_is_refused_by_the_removal_alone_is_kept_and_the_others_are_taken_off(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 1000);
    w.person[0].stuck = w.person[499].stuck = w.person[999].stuck = true;
    run(&w, 0);
    assert_all_gone(&w);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(w.person[i].on_list, w.person[i].stuck);
    removal_release(&w.removal);
}

static void who_is_not_on_the_list_any_more_is_off_and_so_are_the_others(void **state)
{
    static const int statuses[] = { 404, 409 };
    static struct people w;

    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        people_init(&w, 300);
        w.person[7].absent = w.person[123].absent = statuses[i];
        w.person[7].on_list = w.person[123].on_list = false;
        run(&w, 0);
        assert_all_gone(&w);
        assert_true(w.person[7].forgotten && w.person[123].forgotten);
        removal_release(&w.removal);
    }
}

static void pages_of_a_look_up_that_have_no_end_are_left(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 150);
    w.endless = true;
    run(&w, 0);
    assert_all_gone(&w);
    removal_release(&w.removal);
}

static void a_list_that_is_gone_is_asked_for_before_anybody_is_suspected(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 10);
    w.list_is_gone = true;
    run(&w, 0);
    assert_true(removal_wants_list(&w.removal));
    assert_int_equal(w.n_removals, 1);
    assert_false(w.person[0].forgotten);
    removal_release(&w.removal);
}

static void a_claim_that_is_refused_is_tried_again(void **state)
{
    static struct people w;

    (void)state;
    people_init(&w, 10);
    w.claims_refused = 5;
    run(&w, 0);
    assert_all_gone(&w);
    assert_in_range(w.now_ms, 1000 + 500 + 2000 + 3 * 5000, 1000 + 500 + 2000 + 3 * 5000 + 100);
    removal_release(&w.removal);
}

static void nothing_is_begun_while_the_process_drains_or_the_lease_is_short(void **state)
{
    static struct people w;
    struct effect effect;

    (void)state;
    people_init(&w, 10);
    w.schedule.draining = true;
    assert_false(removal_next(&w.removal, &w.schedule, w.now_ms, &effect));
    w.schedule.draining = false;
    w.schedule.imports_until_ms = w.now_ms;
    settle(&w);
    respond(&w, 0);
    settle(&w);
    assert_int_equal(w.n_lookups, 1);
    assert_int_equal(w.n_removals, 0);
    assert_int_equal(removal_due_ms(&w.removal, &w.schedule, w.now_ms), REQUEST_SCHEDULE_NEVER);
    w.schedule.imports_until_ms = INT64_MAX;
    run(&w, 0);
    assert_all_gone(&w);
    removal_release(&w.removal);
}

/* Lost responses, refusals, pages, people of others: nobody is forgotten who is there. */
static void whatever_happens_the_list_is_right_in_the_end(void **state)
{
    static struct people w;

    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        random_state = round;
        people_init(&w, 1 + (int)dice(round % 10 ? 300 : PEOPLE_MAX));
        w.claim = dice(2) ? LIST_CLAIM_ALONE : LIST_CLAIM_SHARED;
        w.claims_refused = (int)dice(3);
        w.page_rows = 1 + dice(PROFILE_LOOKUP_MAX);
        for (int i = 0; i < w.n; i++) {
            w.person[i].left = dice(5) > 0;
            w.person[i].known = !w.person[i].left || dice(10) > 0;
            w.person[i].on_list = !w.person[i].left || dice(10) > 0;
            w.person[i].cursed = w.person[i].left && dice(200) == 0;
            w.person[i].stuck = w.person[i].left && w.person[i].on_list && dice(200) == 0;
            w.person[i].held = w.claim == LIST_CLAIM_SHARED && w.person[i].left &&
                               !w.person[i].cursed && !w.person[i].stuck && w.person[i].on_list &&
                               dice(4) == 0;
        }
        run(&w, dice(40));
        assert_all_gone(&w);
        removal_release(&w.removal);
    }
}

static void the_guard_looks_at_shares_numbers_and_the_source(void **state)
{
    static const struct {
        const char *what;
        struct removal_figures figures;
        enum removal_verdict verdict;
        const char *says;
    } cases[] = {
        { "kept by the export", { false, true, false, 500, 500, 0, 0, 0 }, REMOVAL_NOTHING, "" },
        { "nobody left", { true, true, false, 0, 500, 500, 0, 0 }, REMOVAL_NOTHING, "" },
        { "100 of 100", { true, true, false, 100, 100, 10, 0, 0 }, REMOVAL_ALLOWED, "" },
        { "101 of 505", { true, true, false, 101, 505, 404, 0, 0 }, REMOVAL_ALLOWED, "" },
        { "101 of 504",
          { true, true, false, 101, 504, 403, 0, 0 },
          REMOVAL_WITHHELD,
          "101 of the 504" },
        { "confirmed", { true, true, true, 400, 504, 104, 0, 0 }, REMOVAL_ALLOWED, "" },
        { "empty", { true, true, false, 1, 10, 0, 0, 0 }, REMOVAL_WITHHELD, "1 of the 10" },
        { "empty, confirmed", { true, true, true, 10, 10, 0, 0, 0 }, REMOVAL_ALLOWED, "" },
        { "half invalid", { true, true, false, 5, 10, 10, 5, 0 }, REMOVAL_ALLOWED, "" },
        { "more than half", { true, true, false, 5, 10, 11, 6, 0 }, REMOVAL_WITHHELD, "6 of 11" },
        { "account not known",
          { true, false, true, 1, 10, 9, 0, 0 },
          REMOVAL_WITHHELD,
          "verify shop" },
        { "a million",
          { true, true, false, 200001, 1000000, 800000, 0, 0 },
          REMOVAL_WITHHELD,
          "--export news --confirm-removals" },
        { "taken again, all are off",
          { true, true, false, 150, 300, 150, 0, 150 },
          REMOVAL_NOTHING,
          "" },
        { "and the account is not known any more",
          { true, false, false, 1, 10, 0, 0, 1 },
          REMOVAL_NOTHING,
          "" },
        { "taken again, and more left",
          { true, true, false, 300, 1000, 700, 0, 90 },
          REMOVAL_WITHHELD,
          "(90 of them are off it already)" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char detail[REMOVAL_DETAIL_BYTES] = "";

        print_message("%s\n", cases[i].what);
        assert_int_equal(removal_judge(&cases[i].figures, "news", "shop", detail),
                         cases[i].verdict);
        assert_non_null(strstr(detail, cases[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(look_ups_are_a_hundred_and_removals_a_thousand),
        cmocka_unit_test(whom_klaviyo_does_not_know_is_gone),
        cmocka_unit_test(what_another_export_has_there_stays_and_is_forgotten_here),
        cmocka_unit_test(all_pages_are_read),
        cmocka_unit_test(a_look_up_that_cannot_be_read_is_made_again_and_named),
        cmocka_unit_test(who_is_refused_alone_is_kept),
        cmocka_unit_test(who_is_refused_by_the_removal_alone_is_kept_and_the_others_are_taken_off),
        cmocka_unit_test(who_is_not_on_the_list_any_more_is_off_and_so_are_the_others),
        cmocka_unit_test(pages_of_a_look_up_that_have_no_end_are_left),
        cmocka_unit_test(a_list_that_is_gone_is_asked_for_before_anybody_is_suspected),
        cmocka_unit_test(a_claim_that_is_refused_is_tried_again),
        cmocka_unit_test(nothing_is_begun_while_the_process_drains_or_the_lease_is_short),
        cmocka_unit_test(whatever_happens_the_list_is_right_in_the_end),
        cmocka_unit_test(the_guard_looks_at_shares_numbers_and_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
