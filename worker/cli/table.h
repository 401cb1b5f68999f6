#ifndef WORKER_CLI_TABLE_H
#define WORKER_CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * Listings: a JSON document of the store, printed on standard output as it is
 * or as a table for people.
 */
enum column_kind {
    COLUMN_TEXT,
    COLUMN_NUMBER, /* at the right edge */
    COLUMN_TIME,   /* RFC 3339; on a terminal how long ago it was */
    COLUMN_STATE,  /* in its colour, where there are colours */
};

/* What happens to a column if the terminal is too narrow for the whole table. */
enum {
    COLUMN_STAYS = 0,
    COLUMN_IS_CUT = 1,
    COLUMN_GOES = 2, /* this one and higher ones: left out, the highest first */
};

struct column {
    const char *title; /* NULL ends the list */
    const char *path;  /* of the member: "state", "counts.read" */
    enum column_kind kind;
    int yields; /* COLUMN_STAYS, … */
};

#define COLUMNS_END                           \
    {                                         \
        NULL, NULL, COLUMN_TEXT, COLUMN_STAYS \
    }

enum table_form { TABLE_FOR_PEOPLE, TABLE_AS_JSON, TABLE_AS_CSV };

struct table_style {
    enum table_form form;
    int columns; /* of the terminal; 0: as wide as it gets */
    bool colours;
    bool ages;      /* times as how long ago they were */
    int64_t now_us; /* UTC, for that */
};

/* What standard output is good for: a terminal's width, colours unless NO_COLOR is set. */
struct table_style table_style_of_output(void);

/* An array of objects, one row per object; nothing: what to say where there is none. */
bool table_print(const struct column *columns, const char *json, bool as_json, const char *nothing,
                 struct error *err) MUST_USE;
bool table_print_styled(const struct column *columns, const char *json,
                        const struct table_style *style, const char *nothing, struct error *err)
    MUST_USE;

/* One object, one line per member that is not null. */
bool details_print(const char *json, bool as_json, struct error *err) MUST_USE;

/* "7.88.1" */
const char *table_library_version(void);
const char *json_library_version(void);

#endif
