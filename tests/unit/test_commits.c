#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/kafka/commits.h"

enum { P = 7, PROMPT = 100, SLOW = 2000, SETTLED = 1000, AGAIN = 5000 };

static struct commits *with_partition(void)
{
    struct commits *commits = commits_new();

    assert_non_null(commits);
    assert_true(commits_add(commits, P));
    return commits;
}

static void assert_step(struct commits *commits, int64_t now_ms, enum commits_step step,
                        int64_t expected)
{
    int32_t partition = -1;
    int64_t offset = -1;

    assert_int_equal(commits_next(commits, now_ms, &partition, &offset), step);
    assert_int_equal(offset, expected);
    assert_int_equal(partition, P);
}

static void assert_nothing(struct commits *commits, int64_t now_ms)
{
    int32_t partition;
    int64_t offset;

    assert_int_equal(commits_next(commits, now_ms, &partition, &offset), COMMITS_NOTHING);
}

/* The partition's beginning, 10, is committed at 0 ms. */
static struct commits *with_beginning(void)
{
    struct commits *commits = with_partition();

    assert_true(commits_offer_beginning(commits, P, 10, 0));
    assert_step(commits, 0, COMMITS_BEGIN, 10);
    commits_begun(commits, P, 10, true, 0);
    return commits;
}

static void nothing_is_known_of_a_partition_that_is_not_ours(void **state)
{
    struct commits *commits = with_partition();
    int64_t offset;

    (void)state;
    assert_false(commits_offer(commits, 3, 1));
    assert_false(commits_offer_beginning(commits, 3, 1, 0));
    assert_false(commits_last(commits, 3, 0, &offset));
    commits_begun(commits, 3, 1, true, 0);
    commits_stored(commits, 3, 1, true, 0);
    commits_remove(commits, P);
    assert_false(commits_offer(commits, P, 1));
    assert_nothing(commits, 0);
    commits_free(commits);
}

static void a_watermark_waits_for_the_answer_to_the_beginning(void **state)
{
    struct commits *commits = with_partition();

    (void)state;
    assert_true(commits_offer_beginning(commits, P, 0, 0));
    assert_step(commits, 0, COMMITS_BEGIN, 0);
    assert_true(commits_offer(commits, P, 3));
    assert_nothing(commits, 60000);
    commits_stored(commits, P, 0, true, SLOW); /* the answer to something else */
    commits_begun(commits, P, 9, true, SLOW);
    assert_nothing(commits, SLOW);
    commits_begun(commits, P, 0, true, SLOW);
    assert_step(commits, SLOW, COMMITS_STORE, 3);
    assert_nothing(commits, SLOW);
    commits_free(commits);
}

static void a_refused_beginning_is_committed_again_with_what_ended_since(void **state)
{
    struct commits *commits = with_partition();

    (void)state;
    assert_true(commits_offer_beginning(commits, P, 0, 0));
    assert_step(commits, 0, COMMITS_BEGIN, 0);
    assert_true(commits_offer(commits, P, 3));
    commits_begun(commits, P, 0, false, PROMPT);
    assert_nothing(commits, PROMPT);
    assert_step(commits, PROMPT + AGAIN, COMMITS_BEGIN, 3);
    commits_free(commits);
}

static void one_offset_of_a_partition_is_on_its_way_at_a_time(void **state)
{
    struct commits *commits = with_beginning();

    (void)state;
    assert_true(commits_offer(commits, P, 11));
    assert_step(commits, 0, COMMITS_STORE, 11);
    assert_true(commits_offer(commits, P, 12));
    assert_true(commits_offer(commits, P, 13));
    assert_nothing(commits, PROMPT);
    commits_stored(commits, P, 11, false, PROMPT); /* the timer sends it again */
    commits_stored(commits, P, 10, true, PROMPT);
    assert_nothing(commits, PROMPT);
    commits_stored(commits, P, 11, true, PROMPT);
    assert_step(commits, PROMPT, COMMITS_STORE, 13);
    commits_stored(commits, P, 13, true, PROMPT);
    assert_nothing(commits, PROMPT);
    commits_free(commits);
}

static void after_a_slow_answer_its_repetitions_are_let_pass(void **state)
{
    struct commits *commits = with_beginning();

    (void)state;
    assert_true(commits_offer(commits, P, 11));
    assert_step(commits, 0, COMMITS_STORE, 11);
    assert_true(commits_offer(commits, P, 12));
    commits_stored(commits, P, 11, true, SLOW);
    assert_nothing(commits, SLOW + SETTLED - 1);
    assert_step(commits, SLOW + SETTLED, COMMITS_STORE, 12);
    commits_free(commits);
}

static void partitions_do_not_wait_for_one_another(void **state)
{
    struct commits *commits = with_beginning();
    int32_t partition = -1;
    int64_t offset = -1;

    (void)state;
    assert_true(commits_add(commits, 8));
    assert_true(commits_offer(commits, P, 11));
    assert_step(commits, 0, COMMITS_STORE, 11);
    assert_true(commits_offer_beginning(commits, 8, 5, 0));
    assert_int_equal(commits_next(commits, 0, &partition, &offset), COMMITS_BEGIN);
    assert_int_equal(partition, 8);
    assert_int_equal(offset, 5);
    commits_free(commits);
}

/* A topic that was made again: its offsets are lower, and what was stored may have been sent. */
static void a_partition_begins_again_below(void **state)
{
    struct commits *commits = with_beginning();

    (void)state;
    assert_true(commits_offer(commits, P, 100));
    assert_step(commits, 0, COMMITS_STORE, 100);
    assert_true(commits_offer_beginning(commits, P, 0, PROMPT));
    assert_true(commits_offer(commits, P, 1));
    assert_nothing(commits, PROMPT + SETTLED - 1);
    commits_stored(commits, P, 100, true, PROMPT + 1);
    assert_step(commits, PROMPT + SETTLED, COMMITS_BEGIN, 1);
    commits_begun(commits, P, 1, true, PROMPT + SETTLED);
    assert_true(commits_offer(commits, P, 2));
    assert_step(commits, PROMPT + SETTLED, COMMITS_STORE, 2);
    commits_free(commits);
}

/* What a broker that stood still takes last counts, and librdkafka's timer goes by it. */
static void a_forgotten_commit_that_comes_last_is_put_right(void **state)
{
    struct commits *commits = with_beginning();

    (void)state;
    assert_true(commits_offer(commits, P, 100));
    assert_step(commits, 0, COMMITS_STORE, 100);
    assert_true(commits_offer_beginning(commits, P, 0, 0));
    assert_step(commits, SETTLED, COMMITS_BEGIN, 0);
    commits_begun(commits, P, 0, true, SLOW);
    assert_true(commits_offer(commits, P, 1));
    assert_step(commits, SLOW, COMMITS_STORE, 1); /* the timer skips it: 1 is below 100 */
    commits_stored(commits, P, 100, true, SLOW);
    assert_true(commits_offer(commits, P, 2));
    assert_nothing(commits, SLOW + SETTLED - 1);
    assert_step(commits, SLOW + SETTLED, COMMITS_BEGIN, 2);
    commits_begun(commits, P, 2, true, SLOW + SETTLED);
    assert_true(commits_offer(commits, P, 3));
    assert_step(commits, SLOW + SETTLED, COMMITS_STORE, 3);
    commits_free(commits);
}

static void what_is_offered_goes_out_with_the_partition(void **state)
{
    struct commits *commits = with_beginning();
    int64_t offset = -1;

    (void)state;
    assert_false(commits_last(commits, P, 0, &offset)); /* nothing new */
    assert_true(commits_offer(commits, P, 11));
    assert_true(commits_last(commits, P, 0, &offset));
    assert_int_equal(offset, 11);
    assert_step(commits, 0, COMMITS_STORE, 11);
    assert_false(commits_last(commits, P, 0, &offset));
    assert_true(commits_offer(commits, P, 12));
    assert_true(commits_last(commits, P, PROMPT, &offset));
    assert_int_equal(offset, 12);
    commits_free(commits);
}

static void nothing_goes_out_after_what_may_still_be_sent_again(void **state)
{
    struct commits *commits = with_beginning();
    int64_t offset = -1;

    (void)state;
    assert_true(commits_offer(commits, P, 11));
    assert_step(commits, 0, COMMITS_STORE, 11);
    assert_true(commits_offer(commits, P, 12));
    assert_false(commits_last(commits, P, SLOW, &offset)); /* not answered for long */
    commits_stored(commits, P, 11, true, SLOW);
    assert_false(commits_last(commits, P, SLOW + 1, &offset)); /* just answered */
    assert_true(commits_last(commits, P, SLOW + SETTLED, &offset));
    commits_free(commits);
}

static void a_beginning_that_waits_goes_out_with_the_partition(void **state)
{
    struct commits *commits = with_partition();
    int64_t offset = -1;

    (void)state;
    assert_true(commits_offer_beginning(commits, P, 0, 0));
    assert_true(commits_last(commits, P, 0, &offset));
    assert_int_equal(offset, 0);
    commits_free(commits);
}

static void a_partition_that_comes_back_begins_with_nothing(void **state)
{
    struct commits *commits = with_beginning();

    (void)state;
    assert_true(commits_offer(commits, P, 11));
    assert_true(commits_add(commits, P));
    assert_nothing(commits, 0);
    assert_true(commits_offer_beginning(commits, P, 11, 0));
    assert_step(commits, 0, COMMITS_BEGIN, 11);
    commits_free(commits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_of_a_partition_that_is_not_ours),
        cmocka_unit_test(a_watermark_waits_for_the_answer_to_the_beginning),
        cmocka_unit_test(a_refused_beginning_is_committed_again_with_what_ended_since),
        cmocka_unit_test(one_offset_of_a_partition_is_on_its_way_at_a_time),
        cmocka_unit_test(after_a_slow_answer_its_repetitions_are_let_pass),
        cmocka_unit_test(partitions_do_not_wait_for_one_another),
        cmocka_unit_test(a_partition_begins_again_below),
        cmocka_unit_test(a_forgotten_commit_that_comes_last_is_put_right),
        cmocka_unit_test(what_is_offered_goes_out_with_the_partition),
        cmocka_unit_test(nothing_goes_out_after_what_may_still_be_sent_again),
        cmocka_unit_test(a_beginning_that_waits_goes_out_with_the_partition),
        cmocka_unit_test(a_partition_that_comes_back_begins_with_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
