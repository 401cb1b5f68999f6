#ifndef WORKER_CLI_TABLE_H
#define WORKER_CLI_TABLE_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * Listings: a JSON document of the store, printed on standard output as it is
 * or as a table for people.
 */
struct column {
    const char *title; /* NULL ends the list */
    const char *path;  /* of the member: "state", "counts.read" */
    bool right;        /* numbers */
    bool cut;          /* gives way when the terminal is narrow */
};

/* An array of objects, one row per object; nothing: what to say where there is none. */
bool table_print(const struct column *columns, const char *json, bool as_json, const char *nothing,
                 struct error *err) MUST_USE;

/* One object, one line per member that is not null. */
bool details_print(const char *json, bool as_json, struct error *err) MUST_USE;

/* "7.88.1" */
const char *table_library_version(void);
const char *json_library_version(void);

#endif
