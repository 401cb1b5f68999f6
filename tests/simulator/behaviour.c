#include "tests/simulator/behaviour.h"

#include <stddef.h>
#include <string.h>

/* A choice is stored as the place of its word in `words`, a status as itself. */
enum type { FLAG, COUNT, STATUS, CHOICE };

struct setting {
    const char *name;
    enum type type;
    size_t offset;
    int fallback;
    const char *words[4];
};

#define AT(member) offsetof(struct behaviour, member)

/* clang-format off */
static const struct setting table[] = {
    { "limits",                    FLAG,   AT(limits),                    1,   { NULL } },
    { "require_revision",          FLAG,   AT(require_revision),          1,   { NULL } },
    { "queued_ms",                 COUNT,  AT(queued_ms),                 100, { NULL } },
    { "processing_ms",             COUNT,  AT(processing_ms),             200, { NULL } },
    { "processing_us_per_profile", COUNT,  AT(processing_us_per_profile), 0,   { NULL } },
    { "oversize_status",           STATUS, AT(oversize_status),           413, { NULL } },
    { "oversize_profile",          CHOICE, AT(oversize_profile),          0,   { "sync", "import-error" } },
    { "email_check",               CHOICE, AT(email_check),               0,   { "sync", "import-error" } },
    { "pointer_index",             FLAG,   AT(pointer_index),             1,   { NULL } },
    { "payload",                   CHOICE, AT(payload),                   0,   { "flat", "wrapped", "null" } },
    { "completed_includes_failed", FLAG,   AT(completed_includes_failed), 0,   { NULL } },
    { "timestamps",                CHOICE, AT(timestamps),                2,   { "micro", "whole", "mixed" } },
    { "sync_errors_max",           COUNT,  AT(sync_errors_max),           0,   { NULL } },
    { "slow_body_ms",              COUNT,  AT(slow_body_ms),              0,   { NULL } },
    { "unknown_profile",           CHOICE, AT(unknown_profile),           0,   { "404", "400", "ignore" } },
    { "keep_bodies",               FLAG,   AT(keep_bodies),               0,   { NULL } },
    { "keep_emails",               FLAG,   AT(keep_emails),               0,   { NULL } },
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

bool behaviour_apply(struct behaviour *behaviour, const json_t *object, struct error *err)
{
    struct behaviour changed = *behaviour;

    for (void *i = json_object_iter((json_t *)(uintptr_t)object); i;
         i = json_object_iter_next((json_t *)(uintptr_t)object, i)) {
        const char *name = json_object_iter_key(i);
        const struct setting *s = find(name);
        int value = s ? parse_value(s, json_object_iter_value(i)) : -1;

        if (value < 0)
            return error_set(err, ERROR_INPUT, "%s setting %s", s ? "bad value for" : "no", name);
        write_value(&changed, s, value);
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
