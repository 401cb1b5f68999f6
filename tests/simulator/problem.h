#ifndef SIMULATOR_PROBLEM_H
#define SIMULATOR_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * What is wrong with a request: the errors that one answer lists, in order.
 *
 * An error is about one row of an import (its pointer is then relative to that
 * row: "attributes/email") or about the request (row PROBLEM_NO_ROW; the
 * pointer is then complete: "/data").
 */
enum { PROBLEM_NO_ROW = -1 };

struct problem {
    int64_t row;
    bool unidentified; /* an import error that says neither which row nor who */
    bool parameter;    /* pointer is the name of a query parameter */
    char code[32];
    char pointer[160];
    char detail[240];
};

struct problems {
    struct problem *list;
    size_t cap, n;
};

/* Adds one with code "invalid". Texts that are too long are cut. */
void problems_add(struct problems *problems, int64_t row, const char *pointer, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

void problems_add_copy(struct problems *problems, const struct problem *problem);

/* Whether any is about a row. */
bool problems_name_rows(const struct problems *problems) MUST_USE;

/* Orders by row, keeping the order within a row; those about no row come first. */
void problems_sort(struct problems *problems);

/* Forgets all but the first max that are about a row. */
void problems_cut_rows(struct problems *problems, size_t max);

void problems_release(struct problems *problems);

#endif
