#include "tests/simulator/filter.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "tests/simulator/memory.h"

#define BAD "Invalid filter provided"

/* Copies the run of word characters at *at into out. False if there is none or no room. */
static bool take_word(const char **at, char *out, size_t room)
{
    size_t n = strspn(*at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

    if (n == 0 || n >= room)
        return false;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
    return true;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static void add_value(struct condition *condition, const char *text, size_t n)
{
    condition->values =
        memory_grow(condition->values, &condition->cap, condition->n + 1, sizeof(char *));
    condition->values[condition->n++] = memory_text(text, n);
}

/* Stands behind the opening quote. */
static bool quoted_value(const char **at, struct condition *condition)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(4096);

    for (; **at && **at != '"'; (*at)++) {
        if (**at == '\\' && ((*at)[1] == '"' || (*at)[1] == '\\'))
            (*at)++;
        strbuf_add(&text, *at, 1);
    }
    if (!take_char(at, '"') || !strbuf_ok(&text))
        return false;
    add_value(condition, text.data ? text.data : "", text.len);
    return true;
}

/* A time or a number begins with a digit; other bare words are not values. */
static bool bare_value(const char **at, struct condition *condition)
{
    size_t n = strspn(*at, "0123456789-+:.TZ");

    if (n == 0 || (*at)[0] < '0' || (*at)[0] > '9')
        return false;
    add_value(condition, *at, n);
    *at += n;
    return true;
}

static bool one_value(const char **at, struct condition *condition)
{
    return take_char(at, '"') ? quoted_value(at, condition) : bare_value(at, condition);
}

static bool values(const char **at, struct condition *condition)
{
    if (!take_char(at, '['))
        return one_value(at, condition);
    do {
        if (!one_value(at, condition))
            return false;
    } while (take_char(at, ','));
    return take_char(at, ']');
}

static bool one_condition(const char **at, struct filter *filter)
{
    if (filter->n == FILTER_CONDITIONS_MAX)
        return false;

    struct condition *condition = &filter->conditions[filter->n++];
    return take_word(at, condition->op, sizeof condition->op) && take_char(at, '(') &&
           take_word(at, condition->field, sizeof condition->field) && take_char(at, ',') &&
           values(at, condition) && take_char(at, ')');
}

static bool conditions(const char **at, struct filter *filter)
{
    do {
        if (!one_condition(at, filter))
            return false;
    } while (take_char(at, ','));
    return true;
}

bool filter_parse(struct filter *filter, const char *text, struct error *err)
{
    const char *at = text;
    bool wrapped = strncmp(text, "and(", 4) == 0;

    *filter = (struct filter){ 0 };
    if (wrapped)
        at += 4;
    if (conditions(&at, filter) && (!wrapped || take_char(&at, ')')) && *at == '\0')
        return true;
    filter_release(filter);
    return error_set(err, ERROR_INPUT, BAD);
}

bool condition_names(const struct condition *condition, const char *value)
{
    for (size_t i = 0; i < condition->n; i++)
        if (strcmp(condition->values[i], value) == 0)
            return true;
    return false;
}

void filter_release(struct filter *filter)
{
    for (size_t i = 0; i < filter->n; i++) {
        for (size_t j = 0; j < filter->conditions[i].n; j++)
            free(filter->conditions[i].values[j]);
        free(filter->conditions[i].values);
    }
    *filter = (struct filter){ 0 };
}
