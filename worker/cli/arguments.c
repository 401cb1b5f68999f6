#include "worker/cli/arguments.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/nearest.h"
#include "common/parse.h"

static const struct option_spec *find_option(const struct command *command, const char *name,
                                             size_t n)
{
    for (const struct option_spec *o = command->options; o && o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return o;
    return NULL;
}

static bool is_given(const struct arguments *a, const struct option_spec *option)
{
    for (size_t i = 0; i < a->n_given; i++)
        if (a->given[i].option == option)
            return true;
    return false;
}

static bool unknown_option(const struct command *command, const char *word, struct error *err)
{
    struct nearest nearest = NEAREST_INIT(word);

    for (const struct option_spec *o = command->options; o && o->name; o++)
        nearest_offer(&nearest, o->name);
    if (nearest.best)
        return error_set(err, ERROR_INPUT, "%s is no option of %s: did you mean %s?", word,
                         command->words, nearest.best);
    return error_set(err, ERROR_INPUT, "%s is no option of %s", word, command->words);
}

/* The value of an option: behind its equals sign, or the next word. */
static bool take_value(const struct option_spec *o, const char *inside, const char *next,
                       const char **value, bool *used_next, struct error *err)
{
    *used_next = o->kind != OPTION_FLAG && !inside;
    *value = inside ? inside : next;
    if (o->kind == OPTION_FLAG && inside)
        return error_set(err, ERROR_INPUT, "%s takes no value", o->name);
    if (o->kind == OPTION_FLAG)
        *value = NULL;
    else if (!*value || (*used_next && strncmp(*value, "--", 2) == 0))
        return error_set(err, ERROR_INPUT, "%s needs a value: %s", o->name, o->value);
    return true;
}

/* *used_next: the word after this one belongs to it. */
static bool add_option(struct arguments *a, const char *word, const char *next, bool *used_next,
                       struct error *err)
{
    size_t n = strcspn(word, "=");
    const char *inside = word[n] ? word + n + 1 : NULL;
    const struct option_spec *o = find_option(a->command, word, n);
    const char *value;

    if (!o)
        return unknown_option(a->command, word, err);
    if (o->kind != OPTION_LIST && is_given(a, o))
        return error_set(err, ERROR_INPUT, "%s is given twice", o->name);
    if (!take_value(o, inside, next, &value, used_next, err))
        return false;
    a->given[a->n_given++] = (struct argument){ .option = o, .value = value };
    return true;
}

static bool sort_words(struct arguments *a, size_t n, const char *const argv[], struct error *err)
{
    bool only_operands = false;

    for (size_t i = 0; i < n; i++) {
        bool used_next = false;

        if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = true;
        else if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0')
            a->operands[a->n_operands++] = argv[i];
        else if (!add_option(a, argv[i], i + 1 < n ? argv[i + 1] : NULL, &used_next, err))
            return false;
        i += used_next;
    }
    return true;
}

static bool check_operands(const struct arguments *a, struct error *err)
{
    const struct command *command = a->command;

    if (a->n_operands < command->min_operands)
        return error_set(err, ERROR_INPUT, "%s needs %s", command->words, command->operands);
    if (a->n_operands <= command->max_operands)
        return true;
    return error_set(err, ERROR_INPUT, "\"%s\" is one word too many for %s",
                     a->operands[command->max_operands], command->words);
}

static bool check_required(const struct arguments *a, struct error *err)
{
    for (const struct option_spec *o = a->command->options; o && o->name; o++)
        if (o->required && !is_given(a, o))
            return error_set(err, ERROR_INPUT, "%s needs %s%s%s: %s", a->command->words, o->name,
                             o->value ? " " : "", o->value ? o->value : "", o->help);
    return true;
}

bool arguments_parse(struct arguments *arguments, const struct command *command, size_t n,
                     const char *const argv[], struct error *err)
{
    struct arguments a = { .command = command };

    a.operands = calloc(n + 1, sizeof *a.operands);
    a.given = calloc(n + 1, sizeof *a.given);
    bool ok = a.operands && a.given ? sort_words(&a, n, argv, err) && check_operands(&a, err) &&
                                          check_required(&a, err)
                                    : error_no_memory(err);
    if (!ok) {
        arguments_release(&a);
        return false;
    }
    *arguments = a;
    return true;
}

void arguments_release(struct arguments *arguments)
{
    free(arguments->operands);
    free(arguments->given);
    *arguments = (struct arguments){ .command = NULL };
}

const char *arguments_next(const struct arguments *arguments, const char *name, size_t *at)
{
    assert(find_option(arguments->command, name, strlen(name)));

    while (*at < arguments->n_given) {
        const struct argument *given = &arguments->given[(*at)++];
        if (strcmp(given->option->name, name) == 0)
            return given->value ? given->value : name;
    }
    return NULL;
}

const char *arguments_value(const struct arguments *arguments, const char *name)
{
    size_t at = 0;

    return arguments_next(arguments, name, &at);
}

bool arguments_flag(const struct arguments *arguments, const char *name)
{
    return arguments_value(arguments, name) != NULL;
}

bool arguments_number(struct context *context, const char *name, struct number_range range,
                      int64_t *out, struct error *err)
{
    const char *text = arguments_value(context->arguments, name);

    if (!text || parse_int64(text, range.min, range.max, out))
        return true;
    return wrong_usage(context, err, "%s is not a whole number from %" PRId64 " to %" PRId64, name,
                       range.min, range.max);
}
