#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/ingest/offsets.h"

static void watermark_is(struct offsets *offsets, int32_t partition, int64_t expected)
{
    struct offsets_move move;

    assert_true(offsets_take_move(offsets, &move));
    assert_int_equal(move.partition, partition);
    assert_int_equal(move.watermark, expected);
}

static void nothing_moved(struct offsets *offsets)
{
    struct offsets_move move;

    assert_false(offsets_take_move(offsets, &move));
}

static int64_t deliver(struct offsets *offsets, int32_t partition, int64_t offset)
{
    int64_t epoch = -1;

    assert_int_equal(offsets_deliver(offsets, partition, offset, &epoch), OFFSETS_OPENED);
    return epoch;
}

static struct offsets *with_partition(int32_t partition)
{
    struct offsets *offsets = offsets_new();

    assert_non_null(offsets);
    assert_true(offsets_assign(offsets, partition));
    return offsets;
}

static void the_first_delivery_sets_the_start(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(3);

    (void)state;
    nothing_moved(offsets);
    (void)deliver(offsets, 3, 41);
    watermark_is(offsets, 3, 41);
    nothing_moved(offsets);
}

static void the_watermark_stops_at_the_lowest_open_offset(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t epoch = deliver(offsets, 0, 10);

    (void)state;
    (void)deliver(offsets, 0, 11);
    (void)deliver(offsets, 0, 15); /* with a gap, as after compaction */
    watermark_is(offsets, 0, 10);
    assert_true(offsets_end(offsets, 0, epoch, 11));
    nothing_moved(offsets);
    assert_true(offsets_end(offsets, 0, epoch, 10));
    watermark_is(offsets, 0, 15);
    assert_true(offsets_end(offsets, 0, epoch, 15));
    watermark_is(offsets, 0, 16);
    assert_int_equal(offsets_n_open(offsets), 0);
}

static void the_end_of_an_empty_partition_is_a_watermark(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);

    (void)state;
    offsets_reached(offsets, 0, 0);
    watermark_is(offsets, 0, 0);
}

static void the_end_counts_once_nothing_is_open(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t epoch = deliver(offsets, 0, 10);

    (void)state;
    offsets_reached(offsets, 0, 14); /* 11 to 13 are no records, as after a transaction */
    watermark_is(offsets, 0, 10);
    assert_true(offsets_end(offsets, 0, epoch, 10));
    watermark_is(offsets, 0, 14);
}

static void a_partition_that_moves_all_the_time_keeps_no_other_from_its_turn(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);

    (void)state;
    assert_true(offsets_assign(offsets, 1));
    offsets_reached(offsets, 0, 10);
    offsets_reached(offsets, 1, 20);
    watermark_is(offsets, 0, 10);
    offsets_reached(offsets, 0, 11);
    watermark_is(offsets, 1, 20);
    offsets_reached(offsets, 1, 21);
    watermark_is(offsets, 0, 11);
    watermark_is(offsets, 1, 21);
    nothing_moved(offsets);
}

static void what_ended_under_an_older_assignment_changes_nothing(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t old = deliver(offsets, 0, 10);

    (void)state;
    assert_int_equal(offsets_revoke(offsets, 0), old);
    assert_int_equal(offsets_n_open(offsets), 0);
    assert_false(offsets_end(offsets, 0, old, 10));
    assert_true(offsets_assign(offsets, 0));
    int64_t new = deliver(offsets, 0, 10);
    assert_true(new > old);
    watermark_is(offsets, 0, 10);
    assert_false(offsets_end(offsets, 0, old, 10));
    nothing_moved(offsets);
    assert_true(offsets_end(offsets, 0, new, 10));
    watermark_is(offsets, 0, 11);
}

/* The topic was deleted and created again while the run of its old record went on. */
static void a_record_at_an_offset_that_is_open_is_another_one(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t old = deliver(offsets, 0, 0);
    int64_t new = -1;

    (void)state;
    watermark_is(offsets, 0, 0);
    assert_int_equal(offsets_deliver(offsets, 0, 0, &new), OFFSETS_REWOUND);
    assert_true(new > old);
    watermark_is(offsets, 0, 0);
    assert_false(offsets_end(offsets, 0, old, 0));
    nothing_moved(offsets);
    assert_true(offsets_end(offsets, 0, new, 0));
    assert_false(offsets_end(offsets, 0, new, 0));
    watermark_is(offsets, 0, 1);
}

static void a_rewind_that_begins_at_an_open_offset_moves_no_watermark_past_it(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t old = deliver(offsets, 0, 5);
    int64_t new = -1;

    (void)state;
    (void)deliver(offsets, 0, 6);
    (void)deliver(offsets, 0, 7);
    watermark_is(offsets, 0, 5);
    assert_int_equal(offsets_deliver(offsets, 0, 6, &new), OFFSETS_REWOUND);
    assert_true(offsets_end(offsets, 0, new, 6) && !offsets_end(offsets, 0, old, 5));
    watermark_is(offsets, 0, 7);
    assert_int_equal(offsets_n_open_of(offsets, 0), 0);
    assert_int_equal(deliver(offsets, 0, 7), new);
    assert_int_equal(offsets_n_open_of(offsets, 0), 1);
    assert_int_equal(offsets_n_open_of(offsets, 1), 0);
}

static void a_partition_that_begins_anew_starts_a_new_epoch(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t old = deliver(offsets, 0, 100);
    int64_t new = -1;

    (void)state;
    watermark_is(offsets, 0, 100);
    assert_int_equal(offsets_deliver(offsets, 0, 4, &new), OFFSETS_REWOUND);
    assert_true(new > old);
    watermark_is(offsets, 0, 4);
    assert_false(offsets_end(offsets, 0, old, 100));
    assert_true(offsets_end(offsets, 0, new, 4));
    watermark_is(offsets, 0, 5);
}

static void a_partition_that_is_not_assigned_takes_nothing(void **state)
{
    CLEANUP(offsets_freep) struct offsets *offsets = with_partition(0);
    int64_t epoch;

    (void)state;
    assert_int_equal(offsets_deliver(offsets, 1, 0, &epoch), OFFSETS_NOT_OURS);
    offsets_reached(offsets, 1, 7);
    assert_int_equal(offsets_revoke(offsets, 1), -1);
    nothing_moved(offsets);
}

/*
 * The model: for each partition everything that was delivered in this epoch,
 * and whether it has ended. Slow and obvious.
 */
enum { PARTITIONS = 5, HISTORY = 4096, MODEL_OFFSETS = 256 };

struct model {
    bool assigned;
    int64_t start, reached; /* -1: none */
    enum { UNSEEN, OPEN, ENDED } of[MODEL_OFFSETS];
};

static int64_t model_watermark(const struct model *model)
{
    int64_t next = -1;

    for (int64_t i = 0; i < MODEL_OFFSETS; i++) {
        if (model->of[i] == OPEN)
            return i;
        if (model->of[i] == ENDED)
            next = i + 1;
    }
    return model->reached > next ? model->reached : next;
}

static size_t model_open(const struct model models[])
{
    size_t n = 0;

    for (size_t p = 0; p < PARTITIONS; p++)
        for (size_t i = 0; models[p].assigned && i < MODEL_OFFSETS; i++)
            n += models[p].of[i] == OPEN;
    return n;
}

/* A delivery of the past, under whatever epoch it was. */
struct past {
    int32_t partition;
    int64_t epoch, offset;
    unsigned life; /* of the model */
};

struct game {
    struct offsets *offsets;
    struct model models[PARTITIONS];
    int64_t head[PARTITIONS];
    int64_t taken[PARTITIONS];
    unsigned life[PARTITIONS];
    struct past history[HISTORY];
    size_t history_n;
    uint64_t random;
};

static uint64_t random_below(struct game *game, uint64_t n)
{
    game->random ^= game->random << 13;
    game->random ^= game->random >> 7;
    game->random ^= game->random << 17;
    return game->random % n;
}

static void begin_life(struct game *game, int32_t p)
{
    game->models[p] = (struct model){ .assigned = true, .start = -1, .reached = -1 };
    game->taken[p] = -1;
    game->life[p]++;
}

static void play_assign(struct game *game, int32_t p)
{
    assert_true(offsets_assign(game->offsets, p));
    begin_life(game, p);
    game->head[p] = (int64_t)random_below(game, 100);
}

static void play_revoke(struct game *game, int32_t p)
{
    offsets_revoke(game->offsets, p);
    game->models[p].assigned = false;
    game->life[p]++;
}

static void remember(struct game *game, int32_t p, int64_t epoch, int64_t offset)
{
    game->history[game->history_n++ % HISTORY] =
        (struct past){ .partition = p, .epoch = epoch, .offset = offset, .life = game->life[p] };
}

static void play_delivery(struct game *game, int32_t p, int64_t offset)
{
    struct model *model = &game->models[p];
    int64_t epoch = -1;
    enum offsets_delivery delivery = offsets_deliver(game->offsets, p, offset, &epoch);

    if (!model->assigned) {
        assert_int_equal(delivery, OFFSETS_NOT_OURS);
        return;
    }
    if (offset < game->head[p] && model->start >= 0) {
        assert_int_equal(delivery, OFFSETS_REWOUND);
        begin_life(game, p);
    } else
        assert_int_equal(delivery, OFFSETS_OPENED);
    model->start = model->start < 0 ? offset : model->start;
    model->of[offset] = OPEN;
    game->head[p] = offset + 1;
    remember(game, p, epoch, offset);
}

static void play_next_delivery(struct game *game, int32_t p)
{
    int64_t offset = game->head[p] + (int64_t)random_below(game, 3);

    if (offset < MODEL_OFFSETS - 8)
        play_delivery(game, p, offset);
    else
        play_assign(game, p);
}

static void play_old_delivery(struct game *game, int32_t p)
{
    if (game->head[p] > 0)
        play_delivery(game, p, (int64_t)random_below(game, (uint64_t)game->head[p]));
}

static void play_end(struct game *game)
{
    size_t n = game->history_n < HISTORY ? game->history_n : HISTORY;
    /* Mostly of late, so that assignments make progress. */
    size_t back = random_below(game, 4) ? random_below(game, 24) : random_below(game, HISTORY);
    if (back >= n)
        return;

    const struct past *past = &game->history[(game->history_n - 1 - back) % HISTORY];
    struct model *model = &game->models[past->partition];
    bool counts = model->assigned && past->life == game->life[past->partition] &&
                  model->of[past->offset] == OPEN;

    assert_int_equal(offsets_end(game->offsets, past->partition, past->epoch, past->offset),
                     counts);
    if (counts)
        model->of[past->offset] = ENDED;
}

/* An end may be told late: at or below what was delivered since. */
static void play_reached(struct game *game, int32_t p)
{
    struct model *model = &game->models[p];
    int64_t back = (int64_t)random_below(game, 3);
    int64_t offset = game->head[p] > back ? game->head[p] - back : game->head[p];

    offsets_reached(game->offsets, p, offset);
    if (!model->assigned)
        return;
    if (model->start < 0)
        game->head[p] = offset;
    if (offset > model->reached)
        model->reached = offset;
    model->start = model->start < 0 ? offset : model->start;
}

static void play_one(struct game *game)
{
    int32_t p = (int32_t)random_below(game, PARTITIONS);
    uint64_t dice = random_below(game, 1000);

    if (dice < 4)
        play_assign(game, p);
    else if (dice < 8)
        play_revoke(game, p);
    else if (dice < 12)
        play_old_delivery(game, p);
    else if (dice < 60)
        play_reached(game, p);
    else if (dice < 500)
        play_next_delivery(game, p);
    else
        play_end(game);
}

/* Every move that the tracker reports is the model's watermark, and ahead of the last one. */
static void compare(struct game *game)
{
    struct offsets_move move;

    while (offsets_take_move(game->offsets, &move)) {
        assert_true(game->models[move.partition].assigned);
        assert_int_equal(move.watermark, model_watermark(&game->models[move.partition]));
        assert_true(move.watermark > game->taken[move.partition]);
        game->taken[move.partition] = move.watermark;
    }
    for (size_t p = 0; p < PARTITIONS; p++)
        if (game->models[p].assigned)
            assert_int_equal(game->taken[p], model_watermark(&game->models[p]));
    assert_int_equal(offsets_n_open(game->offsets), model_open(game->models));
}

static void random_interleavings_agree_with_a_naive_model(void **state)
{
    enum { SEEDS = 40, STEPS = 50000 };
    static struct game game;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        game = (struct game){ .offsets = offsets_new(), .random = seed * 0x9E3779B97F4A7C15 };
        assert_non_null(game.offsets);
        for (size_t step = 0; step < STEPS; step++) {
            play_one(&game);
            if (step % 8 == 0)
                compare(&game);
        }
        offsets_free(game.offsets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_delivery_sets_the_start),
        cmocka_unit_test(the_watermark_stops_at_the_lowest_open_offset),
        cmocka_unit_test(the_end_of_an_empty_partition_is_a_watermark),
        cmocka_unit_test(the_end_counts_once_nothing_is_open),
        cmocka_unit_test(a_partition_that_moves_all_the_time_keeps_no_other_from_its_turn),
        cmocka_unit_test(what_ended_under_an_older_assignment_changes_nothing),
        cmocka_unit_test(a_record_at_an_offset_that_is_open_is_another_one),
        cmocka_unit_test(a_rewind_that_begins_at_an_open_offset_moves_no_watermark_past_it),
        cmocka_unit_test(a_partition_that_begins_anew_starts_a_new_epoch),
        cmocka_unit_test(a_partition_that_is_not_assigned_takes_nothing),
        cmocka_unit_test(random_interleavings_agree_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
