#include "tests/simulator/behaviour.h"

#include <stddef.h>
#include <string.h>

/* A choice is stored as the place of its word in `words`, a status as itself. */
enum type { FLAG, COUNT, STATUS, CHOICE };

struct setting {
    const char *name;
    size_t offset;
    const char *words[4];
    enum type type;
    int fallback;
};

#define AT(member) offsetof(struct behaviour, member)

/* clang-format off */
static const struct setting table[] = {
    { "limits",                    AT(limits),                    { NULL },                      FLAG,   1 },
    { "require_revision",          AT(require_revision),          { NULL },                      FLAG,   1 },
    { "queued_ms",                 AT(queued_ms),                 { NULL },                      COUNT,  100 },
    { "processing_ms",             AT(processing_ms),             { NULL },                      COUNT,  200 },
    { "processing_us_per_profile", AT(processing_us_per_profile), { NULL },                      COUNT,  0 },
    { "oversize_status",           AT(oversize_status),           { NULL },                      STATUS, 413 },
    { "oversize_profile",          AT(oversize_profile),          { "sync", "import-error" },    CHOICE, 0 },
    { "email_check",               AT(email_check),               { "sync", "import-error" },    CHOICE, 0 },
    { "pointer_index",             AT(pointer_index),             { NULL },                      FLAG,   1 },
    { "payload",                   AT(payload),                   { "flat", "wrapped", "null" }, CHOICE, 0 },
    { "completed_includes_failed", AT(completed_includes_failed), { NULL },                      FLAG,   0 },
    { "timestamps",                AT(timestamps),                { "micro", "whole", "mixed" }, CHOICE, 2 },
    { "sync_errors_max",           AT(sync_errors_max),           { NULL },                      COUNT,  0 },
    { "slow_body_ms",              AT(slow_body_ms),              { NULL },                      COUNT,  0 },
    { "unknown_profile",           AT(unknown_profile),           { "404", "400", "ignore" },    CHOICE, 0 },
    { "keep_bodies",               AT(keep_bodies),               { NULL },                      FLAG,   0 },
    { "keep_emails",               AT(keep_emails),               { NULL },                      FLAG,   0 },
};
/* clang-format on */

enum { N_SETTINGS = sizeof table / sizeof table[0], COUNT_MAX = 24 * 3600 * 1000 };

static int read_value(const struct behaviour *behaviour, const struct setting *s)
{
    const char *member = (const char *)behaviour + s->offset;
    bool flag;
    int number;

    if (s->type == FLAG) {
        memcpy(&flag, member, sizeof flag);
        return flag;
    }
    memcpy(&number, member, sizeof number);
    return number;
}

static void write_value(struct behaviour *behaviour, const struct setting *s, int value)
{
    char *member = (char *)behaviour + s->offset;
    bool flag = value != 0;

    if (s->type == FLAG)
        memcpy(member, &flag, sizeof flag);
    else
        memcpy(member, &value, sizeof value);
}

void behaviour_init(struct behaviour *behaviour)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        write_value(behaviour, &table[i], table[i].fallback);
}

static const struct setting *find(const char *name)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* The place of the word among the choices, or -1. */
static int choice(const struct setting *s, const json_t *value)
{
    const char *text = json_string_value(value);

    for (int i = 0; text && i < 4 && s->words[i]; i++)
        if (strcmp(s->words[i], text) == 0)
            return i;
    return -1;
}

/* The value to store, or -1. */
static int parse_value(const struct setting *s, const json_t *value)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;

    switch (s->type) {
    case FLAG:
        return json_is_boolean(value) ? json_is_true(value) : -1;
    case COUNT:
        return number >= 0 && number <= COUNT_MAX ? (int)number : -1;
    case STATUS:
        return number == 400 || number == 413 ? (int)number : -1;
    case CHOICE:
        return choice(s, value);
    }
    return -1;
}

bool behaviour_apply(struct behaviour *behaviour, json_t *object, struct error *err)
{
    struct behaviour changed = *behaviour;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value) {
        const struct setting *s = find(name);
        int number = s ? parse_value(s, value) : -1;

        if (number < 0)
            return error_set(err, ERROR_INPUT, "%s setting %s", s ? "bad value for" : "no", name);
        write_value(&changed, s, number);
    }
    *behaviour = changed;
    return true;
}

static json_t *value_json(const struct behaviour *behaviour, const struct setting *s)
{
    int value = read_value(behaviour, s);

    switch (s->type) {
    case FLAG:
        return json_boolean(value);
    case COUNT:
    case STATUS:
        return json_integer(value);
    case CHOICE:
        return json_string(s->words[value]);
    }
    return NULL;
}

json_t *behaviour_json(const struct behaviour *behaviour)
{
    json_t *object = json_object();

    for (size_t i = 0; i < N_SETTINGS; i++)
        json_object_set_new(object, table[i].name, value_json(behaviour, &table[i]));
    return object;
}
