#include "worker/ingest/export_names.h"

#include <stdlib.h>

#include "common/utf8.h"
#include "worker/ingest/json_text.h"

static bool refuse(struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "its header x-klaviyo-worker-exports does not name exports as a worker would");
}

/* The JSON string that a name begins with, if it is one to its end; else BYTES_NONE. */
static struct bytes quoted(struct bytes list)
{
    size_t n = 1, where;

    if (list.at[0] != '"')
        return BYTES_NONE;
    while (n < list.n && list.at[n] != '"')
        n += list.at[n] == '\\' ? 2 : 1;
    struct bytes string = { list.at, n + 1 };
    bool ends = n < list.n && (string.n == list.n || list.at[string.n] == ',');
    return ends && json_text_check(string, &where) ? string : BYTES_NONE;
}

static struct bytes as_it_is(struct bytes list)
{
    const char *comma = memchr(list.at, ',', list.n);

    return (struct bytes){ list.at, comma ? (size_t)(comma - list.at) : list.n };
}

static bool add(struct export_names *names, char *name, struct error *err)
{
    char **more = name ? reallocarray(names->items, names->n + 1, sizeof *more) : NULL;

    if (!more) {
        free(name);
        return error_no_memory(err);
    }
    names->items = more;
    names->items[names->n++] = name;
    return true;
}

static bool add_quoted(struct export_names *names, struct bytes string, struct error *err)
{
    struct json_text_characters name;

    switch (json_text_string(string, &name)) {
    case JSON_TEXT_STRING:
        if (name.n > 0 && strlen(name.at) == name.n)
            return add(names, name.at, err);
        free(name.at);
        return refuse(err);
    case JSON_TEXT_NO_STRING:
        return refuse(err);
    case JSON_TEXT_NO_MEMORY:
        break;
    }
    return error_no_memory(err);
}

static bool add_as_it_is(struct export_names *names, struct bytes name, struct error *err)
{
    if (name.n == 0 || memchr(name.at, '\0', name.n) || utf8_count(name.at, name.n) < 0)
        return refuse(err);
    return add(names, strndup(name.at, name.n), err);
}

/* The first name of the list, which moves on behind it and its comma; *more: there was one. */
static bool take_name(struct export_names *names, struct bytes *list, bool *more, struct error *err)
{
    struct bytes string = list->n > 0 ? quoted(*list) : BYTES_NONE;
    struct bytes name = string.at ? string : as_it_is(*list);

    if (!(string.at ? add_quoted(names, name, err) : add_as_it_is(names, name, err)))
        return false;
    *more = name.n < list->n;
    list->at += name.n + *more;
    list->n -= name.n + *more;
    return true;
}

bool export_names_parse(struct bytes list, struct export_names *names, struct error *err)
{
    struct export_names parsed = EXPORT_NAMES_INIT;

    if (!list.at)
        list = (struct bytes){ "", 0 };
    for (bool more = true; more;)
        if (!take_name(&parsed, &list, &more, err)) {
            export_names_release(&parsed);
            return false;
        }
    *names = parsed;
    return true;
}

void export_names_release(struct export_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
    *names = EXPORT_NAMES_INIT;
}
