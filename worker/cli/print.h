#ifndef WORKER_CLI_PRINT_H
#define WORKER_CLI_PRINT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The one way of a command to standard output and standard error. Names come
 * from the database and from Klaviyo: what in them would steer a terminal, end a
 * line or turn the direction of writing is shown (visible_text.h). A test checks
 * that nothing else prints.
 */

/* One line on standard output; the line's end is added. */
void print_line(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* A text with line ends of its own, which is ours from end to end. */
void print_text(const char *text);

/* A document and a line end. What must be shown is escaped in its strings. */
bool print_json(const json_t *root, struct error *err) MUST_USE;

/* Whether a part of standard output was left out so far, for lack of memory. */
bool print_has_left_out(void);

/* A sequence of our own that steers the terminal. */
void print_control(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* A text of ours on standard error, which is there at once. */
void print_prompt(const char *text);

/*
 * Progress, on a terminal: a line on standard error that the next one replaces, and ""
 * removes. Elsewhere nothing.
 */
void print_status(const char *text);

/* One line on standard error. */
void print_problem(const char *before, const char *text);

/* The same for a text of several lines, with `before` in front of each. */
void print_problems(const char *before, const char *text);

#endif
