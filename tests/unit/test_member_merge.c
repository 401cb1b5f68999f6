#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/export/member_merge.h"

static struct bytes field(const char *text)
{
    return (struct bytes){ text, text ? strlen(text) : 0 };
}

/* Addresses separated by blanks, "-" for none; the diary of steps, a word each. */
static void walk(const char *members, const char *rows, char *diary, size_t size)
{
    static const char *const names[] = { "member", "both", "absent", "passed", "end" };
    struct member_merge merge = { .matched = false };
    char text[2][256], *rest[2], *head[2];
    enum merge_step step;
    size_t used = 0;

    (void)snprintf(text[0], sizeof text[0], "%s", members);
    (void)snprintf(text[1], sizeof text[1], "%s", rows);
    for (int i = 0; i < 2; i++)
        head[i] = strtok_r(text[i], " ", &rest[i]);
    do {
        struct bytes member = field(head[0] && strcmp(head[0], "-") != 0 ? head[0] : NULL);
        struct bytes row = field(head[1]);
        step = member_merge_next(&merge, head[0] ? &member : NULL, head[1] ? &row : NULL);
        used += (size_t)snprintf(diary + used, size - used, "%s ", names[step]);
        int which = step == MERGE_MEMBER || step == MERGE_BOTH ? 0 : 1;
        if (step != MERGE_END)
            head[which] = strtok_r(NULL, " ", &rest[which]);
    } while (step != MERGE_END);
}

static void each_row_meets_the_members_of_its_address(void **state)
{
    static const struct {
        const char *members, *rows, *diary;
    } cases[] = {
        { "", "", "end " },
        { "a", "", "member end " },
        { "", "a", "absent end " },
        { "a", "a", "both passed end " },
        { "a a", "a", "both both passed end " },
        { "- - a", "a", "member member both passed end " },
        { "- -", "a", "member member absent end " },
        { "- - a b b d", "a b c", "member member both passed both both passed absent member end " },
        { "a c", "b", "member absent member end " },
        { "ab", "a abc", "absent member absent end " }, /* a prefix is less */
        { "b", "a c", "absent member absent end " },
        { "\xc3\xa4", "z", "absent member end " }, /* bytes, and unsigned ones */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char diary[256];

        walk(cases[i].members, cases[i].rows, diary, sizeof diary);
        assert_string_equal(diary, cases[i].diary);
    }
}

/* A naive model: each row is asked whether any member has its address. */
enum { MODEL_ROWS = 40, MODEL_LETTERS = 30, ROUNDS = 3000 };

struct model {
    int members[MODEL_ROWS], rows[MODEL_ROWS];
    size_t n_members, n_rows;
};

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void make_model(struct model *m, unsigned *seed)
{
    *m = (struct model){ .n_members = (size_t)rand_r(seed) % MODEL_ROWS };
    for (size_t i = 0; i < m->n_members; i++)
        m->members[i] = (int)((unsigned)rand_r(seed) % MODEL_LETTERS) - 2; /* below 0: none */
    qsort(m->members, m->n_members, sizeof m->members[0], compare_ints);
    for (int letter = 0; letter < MODEL_LETTERS; letter++)
        if (rand_r(seed) % 2)
            m->rows[m->n_rows++] = letter;
}

static bool has_member(const struct model *m, int letter)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i] == letter)
            return true;
    return false;
}

static bool has_row(const struct model *m, int letter)
{
    for (size_t i = 0; i < m->n_rows; i++)
        if (m->rows[i] == letter)
            return true;
    return false;
}

static struct bytes letter_field(const int *letter)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz{|}~";

    return *letter < 0 ? (struct bytes){ NULL, 0 } : (struct bytes){ letters + *letter, 1 };
}

static void check_walk(const struct model *m)
{
    struct member_merge merge = { .matched = false };
    size_t at_member = 0, at_row = 0;

    for (;;) {
        struct bytes member = letter_field(&m->members[at_member]);
        struct bytes row = letter_field(&m->rows[at_row]);
        switch (member_merge_next(&merge, at_member < m->n_members ? &member : NULL,
                                  at_row < m->n_rows ? &row : NULL)) {
        case MERGE_MEMBER:
            assert_false(has_row(m, m->members[at_member++]));
            break;
        case MERGE_BOTH:
            assert_int_equal(m->members[at_member++], m->rows[at_row]);
            break;
        case MERGE_ABSENT:
            assert_false(has_member(m, m->rows[at_row++]));
            break;
        case MERGE_PASSED:
            assert_true(has_member(m, m->rows[at_row++]));
            break;
        case MERGE_END:
            assert_int_equal(at_member, m->n_members);
            assert_int_equal(at_row, m->n_rows);
            return;
        }
    }
}

static void random_streams_agree_with_a_naive_model(void **state)
{
    unsigned seed = 1;
    struct model m;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        make_model(&m, &seed);
        check_walk(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_meets_the_members_of_its_address),
        cmocka_unit_test(random_streams_agree_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
