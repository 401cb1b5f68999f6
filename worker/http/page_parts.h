#ifndef WORKER_HTTP_PAGE_PARTS_H
#define WORKER_HTTP_PAGE_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "worker/http/page.h"

/*
 * What the pages are made of (pure): the frame around each, and how a state, a reason,
 * a run look wherever they appear. For the page_*.c only. All append to out.
 */

/* A member of an object; "" and 0 where it is absent or of another type. */
const char *page_text_of(const json_t *object, const char *name);
int64_t page_count_of(const json_t *object, const char *name);

/* Everything before and behind the content; title is static. */
void page_begin(struct strbuf *out, const struct page_facts *facts, const char *title);
void page_end(struct strbuf *out);

/* The class of the style sheet that gives a state its colour. */
const char *page_class_of_state(const char *state);

/* The state in words, in its colour; an unknown one looks like a failure. */
void page_add_state(struct strbuf *out, const char *state);

/* The reason and its sentence, with a line of their own; nothing where there is none. */
void page_add_reason(struct strbuf *out, const json_t *object);

/* Links to the pages of an export and of a run. */
void page_add_export_link(struct strbuf *out, const char *name);
void page_add_run_link(struct strbuf *out, int64_t run_id);

/* Whether a run is in progress, by what is shown of it. */
bool page_run_is_open(const json_t *run);

/* "500 of 2 000" and what (may be empty), and a bar while the run is in progress. */
void page_add_progress(struct strbuf *out, const json_t *run, const char *what);

/*
 * A run in progress: bar, time left, reason, until when it waits. report: as of
 * status_report.h, may be NULL.
 */
void page_add_open_run(struct strbuf *out, const json_t *run, const json_t *report, int64_t now_us);

/* What a report holds of a run under that name; NULL: nothing. */
const json_t *page_of_run(const json_t *report, const char *name, const json_t *run);

/* A table of runs that have ended or are to come; rows: how many at most. */
void page_add_run_table(struct strbuf *out, const json_t *runs, const char *export_name,
                        size_t rows, int64_t now_us);

/* A chart of an export's newest runs; trend: as of status_report.h, may be NULL. */
void page_add_trend(struct strbuf *out, const json_t *trend);

/* Cells of a table: the name is next to the value on a narrow screen. */
void page_add_number_cell(struct strbuf *out, const char *name, int64_t number);
void page_add_time_cell(struct strbuf *out, const char *name, const char *time, int64_t now_us);

#endif
