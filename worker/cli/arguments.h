#ifndef WORKER_CLI_ARGUMENTS_H
#define WORKER_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/cli/command.h"

/*
 * The words behind a command, sorted into operands and options. Options and
 * operands may be mixed; `--name=value` and `--name value` are the same; what
 * follows a lone `--` is an operand. All texts are borrowed from argv.
 */
struct argument {
    const struct option_spec *option;
    const char *value; /* NULL for a flag */
};

struct arguments {
    const struct command *command;
    const char **operands;
    size_t n_operands;
    struct argument *given;
    size_t n_given;
};

/* argv[0..n) are the words after the command's own. ERROR_INPUT: wrong usage. */
bool arguments_parse(struct arguments *arguments, const struct command *command, size_t n,
                     const char *const argv[], struct error *err) MUST_USE;

/* Frees the arrays; the texts are argv's. */
void arguments_release(struct arguments *arguments);

/* Asking for an option that the command does not have is a bug. */
bool arguments_flag(const struct arguments *arguments, const char *name);
const char *arguments_value(const struct arguments *arguments, const char *name); /* NULL: absent */

/* The values of a list, one per call; *at begins as 0. NULL: no more. */
const char *arguments_next(const struct arguments *arguments, const char *name, size_t *at);

struct number_range {
    int64_t min, max;
};

/*
 * *out keeps its value where the option is absent. False: wrong usage, err names the option
 * and its range.
 */
bool arguments_number(struct context *context, const char *name, struct number_range range,
                      int64_t *out, struct error *err) MUST_USE;

#endif
