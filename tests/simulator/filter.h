#ifndef SIMULATOR_FILTER_H
#define SIMULATOR_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The filter parameter: `any(email,["a@x.example","b@x.example"])`,
 * `equals(status,"complete"),greater-than(created,2026-01-01T00:00:00Z)`.
 * Conditions are joined by a comma or by and(…); there is no "or". Strings
 * stand in double quotes with \" and \\; times and numbers stand bare.
 */
enum { FILTER_CONDITIONS_MAX = 8 };

struct condition {
    char op[24];
    char field[32];
    char **values;
    size_t n, cap;
};

struct filter {
    struct condition conditions[FILTER_CONDITIONS_MAX];
    size_t n;
};

/* text is the decoded parameter. On false (ERROR_INPUT) the filter is empty. */
bool filter_parse(struct filter *filter, const char *text, struct error *err) MUST_USE;

/* Whether the condition (equals or any) names this value. */
bool condition_names(const struct condition *condition, const char *value);

void filter_release(struct filter *filter);

#endif
