#ifndef WORKER_CLI_CELL_H
#define WORKER_CLI_CELL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

/* The text of one cell of a table: a JSON value in words (pure). */

enum { CELL_MAX_BYTES = 4096 }; /* longer ones are cut */

/* "counts.read" of an object; NULL: it has none. Lent. */
json_t *cell_member(json_t *object, const char *path);

/* Lists with commas, objects as "role: team", booleans as yes and no; nothing for null. */
void cell_add(struct strbuf *text, json_t *value);

/* How many columns of a terminal a text takes; a wide character takes two. */
int cell_width(const char *text);

/* To a width of 1 or more: what does not fit gives way to an ellipsis. */
void cell_cut(struct strbuf *text, int width);

/* libsmartcols' name of the colour that a state is shown in; NULL: none. */
const char *cell_colour(const char *state);

#endif
