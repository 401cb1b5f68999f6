#include "worker/cli/table.h"

#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "common/strbuf.h"
#include "common/visible_text.h"
#include "worker/cli/json.h"
#include "worker/cli/print.h"

enum { CELL_MAX_BYTES = 4096, SHOWN_MAX_BYTES = 6 * CELL_MAX_BYTES }; /* a control takes six */

DEFINE_HANDLE(table, struct libscols_table, scols_unref_table)

const char *table_library_version(void)
{
    const char *text = NULL;

    (void)scols_get_library_version(&text);
    return text ? text : "unknown";
}

const char *json_library_version(void)
{
    return jansson_version_str();
}

static json_t *parse(const char *json, struct error *err)
{
    json_t *root = json_loads(json, JSON_DECODE_ANY, NULL);

    if (!root)
        (void)error_no_memory(err); /* PostgreSQL writes no wrong JSON */
    return root;
}

static bool print_document(const json_t *root, struct error *err)
{
    return print_json(root) || error_errno(err, ERROR_INPUT, "cannot write to standard output");
}

/* "counts.read" */
static json_t *member_at(json_t *object, const char *path)
{
    while (object && *path) {
        size_t n = strcspn(path, ".");
        object = json_object_getn(object, path, n);
        path += n + (path[n] == '.');
    }
    return object;
}

static void add_text(struct strbuf *text, json_t *value);

static void add_list(struct strbuf *text, const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            strbuf_add_str(text, ", ");
        add_text(text, json_array_get(array, i));
    }
}

/* "role: team" */
static void add_object(struct strbuf *text, json_t *object)
{
    const char *name;
    json_t *value;
    bool any = false;

    json_object_foreach(object, name, value) {
        strbuf_addf(text, "%s%s: ", any ? "; " : "", name);
        add_text(text, value);
        any = true;
    }
}

/* A value in words; an empty one for null. */
static void add_text(struct strbuf *text, json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        strbuf_add(text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        strbuf_addf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        strbuf_addf(text, "%g", json_real_value(value));
        break;
    case JSON_TRUE:
        strbuf_add_str(text, "yes");
        break;
    case JSON_FALSE:
        strbuf_add_str(text, "no");
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

static bool set_text(struct libscols_line *line, size_t column, const char *text)
{
    CLEANUP(strbuf_release) struct strbuf shown = STRBUF_INIT(SHOWN_MAX_BYTES);

    (void)visible_text_add(&shown, VISIBLE_LINE, text, strlen(text), shown.max);
    return scols_line_set_data(line, column, shown.data ? shown.data : "") == 0;
}

/* Too long for a cell: shown cut. */
static bool set_cell(struct libscols_line *line, size_t column, json_t *value)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

    add_text(&text, value);
    return set_text(line, column, text.data ? text.data : "");
}

static bool add_columns(struct libscols_table *table, const struct column *columns)
{
    for (const struct column *c = columns; c->title; c++) {
        int flags = (c->right ? SCOLS_FL_RIGHT : 0) | (c->cut ? SCOLS_FL_TRUNC : 0);
        if (!scols_table_new_column(table, c->title, 0, flags))
            return false;
    }
    return true;
}

static bool add_row(struct libscols_table *table, const struct column *columns, json_t *object)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);

    for (size_t i = 0; line && columns[i].title; i++)
        if (!set_cell(line, i, member_at(object, columns[i].path)))
            return false;
    return line != NULL;
}

static bool print_table(const struct column *columns, const json_t *array, struct error *err)
{
    CLEANUP(table_freep) struct libscols_table *table = scols_new_table();
    bool ok = table && add_columns(table, columns);

    for (size_t i = 0; ok && i < json_array_size(array); i++)
        ok = add_row(table, columns, json_array_get(array, i));
    if (!ok || scols_print_table(table) != 0)
        return error_no_memory(err);
    return true;
}

bool table_print(const struct column *columns, const char *json, bool as_json, const char *nothing,
                 struct error *err)
{
    CLEANUP(json_freep) json_t *root = parse(json, err);

    if (!root)
        return false;
    if (as_json)
        return print_document(root, err);
    if (json_array_size(root) > 0)
        return print_table(columns, root, err);
    print_line("%s", nothing);
    return true;
}

/* "list_name" as "list name"; a nested one as "counts read", its own name as it is. */
static bool set_name(struct libscols_line *line, const char *before, const char *name)
{
    char words[320];

    (void)snprintf(words, sizeof words, "%s%s%s", before, *before ? " " : "", name);
    for (char *c = words; *c && (!*before || c < words + strlen(before)); c++)
        if (*c == '_')
            *c = ' ';
    return set_text(line, 0, words);
}

static bool add_member(struct libscols_table *table, const char *before, const char *name,
                       json_t *value)
{
    if (json_is_null(value))
        return true;
    struct libscols_line *line = scols_table_new_line(table, NULL);
    return line && set_name(line, before, name) && set_cell(line, 1, value);
}

/* Objects one level down are shown member by member. */
static bool add_members(struct libscols_table *table, json_t *object)
{
    const char *name, *inner_name;
    json_t *value, *inner;
    bool ok = true;

    json_object_foreach(object, name, value) {
        if (!json_is_object(value))
            ok = ok && add_member(table, "", name, value);
        json_object_foreach(value, inner_name, inner)
            ok = ok && add_member(table, name, inner_name, inner);
    }
    return ok;
}

static bool print_details(json_t *object, struct error *err)
{
    CLEANUP(table_freep) struct libscols_table *table = scols_new_table();

    if (!table || scols_table_enable_noheadings(table, 1) != 0 ||
        !scols_table_new_column(table, "name", 0, 0) ||
        !scols_table_new_column(table, "value", 0, SCOLS_FL_WRAP) || !add_members(table, object) ||
        scols_print_table(table) != 0)
        return error_no_memory(err);
    return true;
}

bool details_print(const char *json, bool as_json, struct error *err)
{
    CLEANUP(json_freep) json_t *root = parse(json, err);

    if (!root)
        return false;
    return as_json ? print_document(root, err) : print_details(root, err);
}
