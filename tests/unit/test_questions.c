#include "tests/unit/test_delivery_world.h"

/* What a run asks Klaviyo for its guards, through the delivery that asks. */
static const struct guards_questions plan_only = { .plan = true };
static const struct guards_questions plan_first = { .plan = true, .plan_needed = true };
static const struct guards_questions flows = { .flows = true };

static const char usage_body[] =
    "{\"data\":[{\"id\":\"sms\",\"attributes\":{\"usage_used\":1,\"usage_max\":2,\"unit\":"
    "\"credits\"}},{\"id\":\"email\",\"attributes\":{\"usage_used\":90,\"usage_max\":100,"
    "\"unit\":\"profiles\"}}]}";
static const char refused_body[] =
    "{\"errors\":[{\"status\":403,\"code\":\"permission_denied\",\"detail\":\"no\"}]}";
static const char flows_body[] = "{\"data\":[{\"attributes\":{\"status\":\"live\"}}]}";

static struct guards_facts told(const struct world *w)
{
    struct guards_facts facts = { .expected = 0 };

    delivery_tell(&w->delivery, &facts);
    return facts;
}

static void ask(struct world *w, const struct guards_questions *questions)
{
    delivery_ask(&w->delivery, questions);
    world_settle(w);
}

static void answer(struct world *w, int status, const char *body)
{
    struct world_response response = { .status = status, .body = body };

    assert_true(w->n_in_flight > 0);
    world_respond(w, w->in_flight[0], &response);
    world_settle(w);
}

static void a_question_is_asked_once_and_its_answer_is_told(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    world_settle(&w);
    assert_int_equal(w.n_in_flight, 0);
    ask(&w, &plan_first);
    ask(&w, &plan_first);
    assert_int_equal(w.n_in_flight, 1);
    assert_int_equal(told(&w).plan, GUARDS_UNASKED);
    answer(&w, 200, usage_body);
    assert_int_equal(told(&w).plan, GUARDS_KNOWN);
    assert_int_equal(told(&w).plan_used, 90);
    assert_int_equal(told(&w).plan_maximum, 100);
    assert_int_equal(told(&w).flows, GUARDS_UNASKED);
    ask(&w, &flows);
    answer(&w, 200, flows_body);
    assert_int_equal(told(&w).flows, GUARDS_KNOWN);
    assert_int_equal(told(&w).live_flows, 1);
    ask(&w, &flows);
    assert_int_equal(w.n_in_flight, 0);
    world_release(&w);
}

static void who_does_not_know_a_question_leaves_it_unknown_at_once(void **state)
{
    static const int statuses[] = { 400, 404, 405, 410, 422, 501 };

    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct world w;

        world_init(&w, true);
        ask(&w, &plan_first);
        answer(&w, statuses[i], "not found");
        assert_int_equal(told(&w).plan, GUARDS_UNKNOWN);
        assert_false(w.over);
        world_release(&w);
    }
}

static void answers_that_cannot_be_read_are_asked_for_four_times(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    ask(&w, &plan_first);
    for (int n = 0; n < 4; n++) {
        assert_int_equal(told(&w).plan, GUARDS_UNASKED);
        while (w.n_in_flight == 0) {
            w.now_ms += 1000;
            world_settle(&w);
        }
        answer(&w, 200, "{}");
    }
    assert_int_equal(told(&w).plan, GUARDS_UNKNOWN);
    assert_false(w.over);
    world_release(&w);
}

static void a_key_that_may_not_read_it_makes_it_unknown_and_is_not_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    ask(&w, &plan_first);
    answer(&w, 403, refused_body);
    ask(&w, &flows);
    answer(&w, 403, refused_body);
    assert_int_equal(told(&w).plan, GUARDS_UNKNOWN);
    assert_int_equal(told(&w).flows, GUARDS_UNKNOWN);
    assert_false(w.over || w.delivery.key_refused);
    world_plan(&w, 2);
    world_finish(&w);
    assert_int_equal(w.rows[0], ROW_CONFIRMED);
    world_release(&w);
}

static void a_question_that_is_needed_is_asked_until_it_is_answered(void **state)
{
    static const struct {
        int status;
        const char *body;
    } in_vain[] = { { 503, NULL }, { 429, NULL }, { 200, "{\"data\":{}}" }, { 403, "<html>" } };
    struct world w;

    (void)state;
    world_init(&w, true);
    ask(&w, &flows);
    for (size_t i = 0; i < sizeof in_vain / sizeof in_vain[0]; i++) {
        answer(&w, in_vain[i].status, in_vain[i].body);
        assert_int_equal(told(&w).flows, GUARDS_UNASKED);
        assert_true(world_pass_time(&w));
        world_settle(&w);
        assert_int_equal(w.n_in_flight, 1);
    }
    answer(&w, 200, flows_body);
    assert_int_equal(told(&w).flows, GUARDS_KNOWN);
    world_release(&w);
}

static void a_question_for_a_warning_is_asked_once_whatever_comes_of_it(void **state)
{
    static const int statuses[] = { 503, 429, 404, 400, 401 };

    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct world w;

        world_init(&w, true);
        ask(&w, &plan_only);
        answer(&w, statuses[i], statuses[i] == 503 ? NULL : refused_body);
        assert_int_equal(told(&w).plan, GUARDS_UNKNOWN);
        assert_false(w.over);
        assert_int_equal(delivery_waiting_ms(&w.delivery, w.now_ms), 0);
        world_release(&w);
    }
}

static void without_a_permit_a_warning_is_left_and_what_is_needed_waits(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    w.no_permit = true;
    ask(&w, &plan_only);
    assert_int_equal(told(&w).plan, GUARDS_UNKNOWN);
    w.no_permit = true;
    ask(&w, &flows);
    assert_int_equal(told(&w).flows, GUARDS_UNASKED);
    assert_int_equal(w.n_in_flight, 0);
    assert_true(world_pass_time(&w));
    world_settle(&w);
    assert_int_equal(w.n_in_flight, 1);
    answer(&w, 200, flows_body);
    world_release(&w);
}

static void the_delivery_is_not_done_while_a_question_is_in_flight(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    w.plan_done = true;
    ask(&w, &plan_only);
    world_plan_news(&w);
    world_settle(&w);
    assert_false(w.over);
    answer(&w, 200, usage_body);
    assert_true(w.over);
    world_release(&w);
}

static void a_key_that_is_refused_twice_ends_the_run(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true);
    ask(&w, &flows);
    answer(&w, 401, refused_body);
    assert_true(world_pass_time(&w));
    world_settle(&w);
    answer(&w, 401, refused_body);
    assert_true(w.over);
    assert_non_null(strstr(w.diary.data, "fail:key_refused!"));
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_asked_once_and_its_answer_is_told),
        cmocka_unit_test(who_does_not_know_a_question_leaves_it_unknown_at_once),
        cmocka_unit_test(answers_that_cannot_be_read_are_asked_for_four_times),
        cmocka_unit_test(a_key_that_may_not_read_it_makes_it_unknown_and_is_not_refused),
        cmocka_unit_test(a_question_that_is_needed_is_asked_until_it_is_answered),
        cmocka_unit_test(a_question_for_a_warning_is_asked_once_whatever_comes_of_it),
        cmocka_unit_test(without_a_permit_a_warning_is_left_and_what_is_needed_waits),
        cmocka_unit_test(the_delivery_is_not_done_while_a_question_is_in_flight),
        cmocka_unit_test(a_key_that_is_refused_twice_ends_the_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
