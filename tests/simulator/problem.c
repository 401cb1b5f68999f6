#include "tests/simulator/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/simulator/memory.h"

static struct problem *add(struct problems *problems)
{
    problems->list =
        memory_grow(problems->list, &problems->cap, problems->n + 1, sizeof *problems->list);
    return &problems->list[problems->n++];
}

void problems_add(struct problems *problems, int64_t row, const char *pointer, const char *fmt, ...)
{
    struct problem *problem = add(problems);
    va_list args;

    problem->row = row;
    (void)snprintf(problem->code, sizeof problem->code, "invalid");
    (void)snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    va_start(args, fmt);
    (void)vsnprintf(problem->detail, sizeof problem->detail, fmt, args);
    va_end(args);
}

void problems_add_copy(struct problems *problems, const struct problem *problem)
{
    *add(problems) = *problem;
}

bool problems_name_rows(const struct problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        if (problems->list[i].row != PROBLEM_NO_ROW)
            return true;
    return false;
}

/* Of two places in the list; those of one row keep their order. */
static int compare(const void *a, const void *b, void *list)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    const struct problem *problems = list;

    if (problems[left].row != problems[right].row)
        return problems[left].row < problems[right].row ? -1 : 1;
    return left < right ? -1 : left > right;
}

void problems_sort(struct problems *problems)
{
    size_t *order = memory_new(problems->n * sizeof *order);
    struct problem *sorted = memory_new(problems->n * sizeof *sorted);

    for (size_t i = 0; i < problems->n; i++)
        order[i] = i;
    qsort_r(order, problems->n, sizeof *order, compare, problems->list);
    for (size_t i = 0; i < problems->n; i++)
        sorted[i] = problems->list[order[i]];
    free(order);
    free(problems->list);
    problems->list = sorted;
    problems->cap = problems->n;
}

void problems_cut_rows(struct problems *problems, size_t max)
{
    size_t kept = 0, rows = 0;

    for (size_t i = 0; i < problems->n; i++) {
        bool about_row = problems->list[i].row != PROBLEM_NO_ROW;

        if (about_row && rows == max)
            continue;
        rows += about_row;
        problems->list[kept++] = problems->list[i];
    }
    problems->n = kept;
}

void problems_release(struct problems *problems)
{
    free(problems->list);
    *problems = (struct problems){ 0 };
}
