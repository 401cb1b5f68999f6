#include "worker/cli/cell.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

json_t *cell_member(json_t *object, const char *path)
{
    while (object && *path) {
        size_t n = strcspn(path, ".");
        object = json_object_getn(object, path, n);
        path += n + (path[n] == '.');
    }
    return object;
}

/* As much of it as there is room for, up to the end of a character. */
static void add(struct strbuf *text, const char *bytes, size_t n)
{
    size_t room = text->max - text->len;

    strbuf_add(text, bytes, n > room ? utf8_cut(bytes, room) : n);
}

static void add_str(struct strbuf *text, const char *str)
{
    add(text, str, strlen(str));
}

static void add_list(struct strbuf *text, const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            add_str(text, ", ");
        cell_add(text, json_array_get(array, i));
    }
}

/* "role: team" */
static void add_object(struct strbuf *text, json_t *object)
{
    const char *name;
    json_t *value;
    bool any = false;

    json_object_foreach(object, name, value) {
        add_str(text, any ? "; " : "");
        add_str(text, name);
        add_str(text, ": ");
        cell_add(text, value);
        any = true;
    }
}

static void add_number(struct strbuf *text, const json_t *value)
{
    char digits[32];

    if (json_is_integer(value))
        (void)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        (void)snprintf(digits, sizeof digits, "%g", json_real_value(value));
    add_str(text, digits);
}

void cell_add(struct strbuf *text, json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        add(text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        add_number(text, value);
        break;
    case JSON_TRUE:
        add_str(text, "yes");
        break;
    case JSON_FALSE:
        add_str(text, "no");
        break;
    case JSON_ARRAY:
        add_list(text, value);
        break;
    case JSON_OBJECT:
        add_object(text, value);
        break;
    case JSON_NULL:
        break;
    }
}

/* Of the character that begins there; U+3000 and beyond: wide ones are among them. */
static int width_at(const char *text)
{
    unsigned char byte = (unsigned char)*text;

    return (byte & 0xc0) == 0x80 ? 0 : byte >= 0xe3 ? 2 : 1;
}

int cell_width(const char *text)
{
    int width = 0;

    for (; *text; text++)
        width += width_at(text);
    return width;
}

void cell_cut(struct strbuf *text, int width)
{
    size_t n = 0;

    if (cell_width(text->data) <= width)
        return;
    for (int left = width - 1; left >= width_at(text->data + n); n++)
        left -= width_at(text->data + n);
    strbuf_rewind(text, n);
    strbuf_add_str(text, "…");
}

const char *cell_colour(const char *state)
{
    static const struct {
        const char *state, *colour;
    } colours[] = {
        { "succeeded", "green" },     { "ok", "green" },
        { "active", "green" },        { "running", "cyan" },
        { "waiting", "yellow" },      { "succeeded_with_rejections", "yellow" },
        { "paused", "yellow" },       { "stale", "red" },
        { "failed", "red" },          { "needs attention", "red" },
        { "needs_attention", "red" },
    };

    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++)
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].colour;
    return NULL;
}
