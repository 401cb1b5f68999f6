#include "worker/cli/table.h"

#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/age.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "common/visible_text.h"
#include "worker/cli/cell.h"
#include "worker/cli/print.h"

enum {
    SHOWN_MAX_BYTES = 6 * CELL_MAX_BYTES, /* a control takes six */
    CUT_WIDTH = 12,                       /* a column that is cut keeps this much, if it has it */
    CUT_LEAST = 4,                        /* and this much where nothing else helps */
    COLUMNS_MAX = 32,
    DEFAULT_WIDTH = 80,
};

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

static bool set_text(struct libscols_line *line, size_t column, const char *text)
{
    CLEANUP(strbuf_release) struct strbuf shown = STRBUF_INIT(SHOWN_MAX_BYTES);

    (void)visible_text_add(&shown, VISIBLE_LINE, text, strlen(text), shown.max);
    return strbuf_ok(&shown) &&
           scols_line_set_data(line, column, shown.data ? shown.data : "") == 0;
}

/* Too long for a cell: shown cut. */
static bool set_cell(struct libscols_line *line, size_t column, json_t *value)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

    cell_add(&text, value);
    return strbuf_ok(&text) && set_text(line, column, text.data ? text.data : "");
}

/* ---- which columns ---- */

/* The value of a column in a row, as this style shows it. */
static void add_shown(struct strbuf *text, const struct column *column, json_t *object,
                      const struct table_style *style)
{
    json_t *value = cell_member(object, column->path);

    if (column->kind == COLUMN_TIME && style->ages && json_is_string(value) &&
        age_add(text, json_string_value(value), style->now_us))
        return;
    cell_add(text, value);
}

static int width_of(const struct column *column, const json_t *array,
                    const struct table_style *style)
{
    int widest = cell_width(column->title);

    for (size_t i = 0; i < json_array_size(array); i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

        add_shown(&text, column, json_array_get(array, i), style);
        int width = text.data ? cell_width(text.data) : 0;
        widest = width > widest ? width : widest;
    }
    return widest;
}

/* A column that is shown. */
struct chosen {
    struct column column;
    int whole; /* its width if nothing is cut */
    int width; /* cells are cut to it; 0: they are not */
};

/* The index of the least important column; n: all that are left stay. */
static size_t least_wanted(const struct chosen *chosen, size_t n)
{
    size_t least = n;

    for (size_t i = 0; i < n; i++)
        if (chosen[i].column.yields >= COLUMN_GOES &&
            (least == n || chosen[i].column.yields > chosen[least].column.yields))
            least = i;
    return least;
}

/* What is left of the terminal's width goes to the columns that are cut, from the left. */
static void give_room(struct chosen *chosen, size_t n, int room)
{
    for (size_t i = 0; i < n && room > 0; i++) {
        int more = chosen[i].whole - chosen[i].width;

        more = more < room ? more : room;
        chosen[i].width += more;
        room -= more;
    }
}

/* Where nothing more can be left out: the columns that are cut get narrower, the widest first. */
static void squeeze(struct chosen *chosen, size_t n, int over)
{
    for (; over > 0; over--) {
        struct chosen *widest = NULL;

        for (size_t i = 0; i < n; i++)
            if (chosen[i].column.yields == COLUMN_IS_CUT && chosen[i].width > CUT_LEAST &&
                (!widest || chosen[i].width > widest->width))
                widest = &chosen[i];
        if (!widest)
            return;
        widest->width--;
    }
}

/* Leaves out the least important columns until the rest fits, if it can. How many stay. */
static size_t leave_out(struct chosen *chosen, size_t n, int columns)
{
    int total = -1; /* a blank between two */

    for (size_t i = 0; i < n; i++)
        total += chosen[i].width + 1;
    while (total > columns) {
        size_t least = least_wanted(chosen, n);

        if (least == n)
            break;
        total -= chosen[least].width + 1;
        n--;
        memmove(&chosen[least], &chosen[least + 1], (n - least) * sizeof *chosen);
    }
    squeeze(chosen, n, total - columns);
    give_room(chosen, n, columns - total);
    return n;
}

/* Into chosen, which has room for COLUMNS_MAX, the columns that fit. How many. */
static size_t choose_columns(const struct column *columns, const json_t *array,
                             const struct table_style *style, struct chosen *chosen)
{
    size_t n = 0;

    for (; columns[n].title && n < COLUMNS_MAX; n++) {
        int whole = style->columns > 0 ? width_of(&columns[n], array, style) : 0;
        bool is_cut = columns[n].yields == COLUMN_IS_CUT && whole > CUT_WIDTH;

        chosen[n] = (struct chosen){ columns[n], whole, is_cut ? CUT_WIDTH : whole };
    }
    return style->columns > 0 ? leave_out(chosen, n, style->columns) : n;
}

/* ---- the table ---- */

static bool add_columns(struct libscols_table *table, const struct chosen *chosen, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(strbuf_release) struct strbuf title = STRBUF_INIT(CELL_MAX_BYTES);
        const struct column *c = &chosen[i].column;

        strbuf_add_str(&title, c->title);
        if (title.data && chosen[i].width > 0)
            cell_cut(&title, chosen[i].width);
        if (!title.data || !scols_table_new_column(table, title.data, 0,
                                                   c->kind == COLUMN_NUMBER ? SCOLS_FL_RIGHT : 0))
            return false;
    }
    return true;
}

static bool set_shown(struct libscols_line *line, size_t i, const struct chosen *chosen,
                      json_t *object, const struct table_style *style)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

    add_shown(&text, &chosen->column, object, style);
    if (text.data && chosen->width > 0)
        cell_cut(&text, chosen->width);
    if (!strbuf_ok(&text) || !set_text(line, i, text.data ? text.data : ""))
        return false;
    const char *colour =
        chosen->column.kind == COLUMN_STATE && text.data ? cell_colour(text.data) : NULL;
    return !style->colours || !colour ||
           scols_cell_set_color(scols_line_get_cell(line, i), colour) == 0;
}

static bool add_row(struct libscols_table *table, const struct chosen *chosen, size_t n,
                    json_t *object, const struct table_style *style)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);

    for (size_t i = 0; line && i < n; i++)
        if (!set_shown(line, i, &chosen[i], object, style))
            return false;
    return line != NULL;
}

static bool print_table(const struct column *columns, const json_t *array,
                        const struct table_style *style, struct error *err)
{
    CLEANUP(table_freep) struct libscols_table *table = scols_new_table();
    struct chosen chosen[COLUMNS_MAX];
    size_t n = choose_columns(columns, array, style, chosen);

    bool ok =
        table && scols_table_enable_colors(table, style->colours) == 0 &&
        scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER) == 0 && /* it would cut, too */
        add_columns(table, chosen, n);
    for (size_t i = 0; ok && i < json_array_size(array); i++)
        ok = add_row(table, chosen, n, json_array_get(array, i), style);
    if (!ok || scols_print_table(table) != 0)
        return error_no_memory(err);
    return true;
}

/* ---- CSV ---- */

static void add_csv_cell(struct strbuf *line, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        strbuf_add_str(line, text);
        return;
    }
    strbuf_add_str(line, "\"");
    for (; *text; text++)
        strbuf_add_str(line, *text == '"' ? "\"\"" : (char[]){ *text, '\0' });
    strbuf_add_str(line, "\"");
}

static bool print_csv_row(const struct column *columns, json_t *object, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT((size_t)COLUMNS_MAX * SHOWN_MAX_BYTES);

    for (const struct column *c = columns; c->title; c++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

        if (object)
            cell_add(&text, cell_member(object, c->path));
        if (!strbuf_ok(&text))
            return error_no_memory(err);
        strbuf_add_str(&line, c == columns ? "" : ",");
        add_csv_cell(&line, !object ? c->path : text.data ? text.data : "");
    }
    if (!strbuf_ok(&line))
        return error_no_memory(err);
    print_line("%s", line.data);
    return true;
}

/* The first line names the members, as --json does. */
static bool print_csv(const struct column *columns, const json_t *array, struct error *err)
{
    bool ok = print_csv_row(columns, NULL, err);

    for (size_t i = 0; ok && i < json_array_size(array); i++)
        ok = print_csv_row(columns, json_array_get(array, i), err);
    return ok;
}

/* ---- either ---- */

struct table_style table_style_of_output(void)
{
    const char *plain = getenv("NO_COLOR"); /* NOLINT(concurrency-mt-unsafe): nobody changes it */
    struct winsize size = { .ws_col = 0 };
    struct table_style style = { .now_us = clock_utc_us() };

    if (!isatty(STDOUT_FILENO))
        return style;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    style.columns = known ? size.ws_col : DEFAULT_WIDTH;
    style.colours = !plain || !*plain;
    style.ages = true;
    return style;
}

bool table_print_styled(const struct column *columns, const char *json,
                        const struct table_style *style, const char *nothing, struct error *err)
{
    CLEANUP(json_freep) json_t *root = parse(json, err);

    if (!root)
        return false;
    if (style->form == TABLE_AS_JSON)
        return print_json(root, err);
    if (style->form == TABLE_AS_CSV)
        return print_csv(columns, root, err);
    if (json_array_size(root) > 0)
        return print_table(columns, root, style, err);
    print_line("%s", nothing);
    return true;
}

bool table_print(const struct column *columns, const char *json, bool as_json, const char *nothing,
                 struct error *err)
{
    struct table_style style = table_style_of_output();

    style.form = as_json ? TABLE_AS_JSON : TABLE_FOR_PEOPLE;
    return table_print_styled(columns, json, &style, nothing, err);
}

/* ---- details ---- */

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
    return as_json ? print_json(root, err) : print_details(root, err);
}
