#ifndef WORKER_HTTP_HTML_H
#define WORKER_HTTP_HTML_H

#include <stdint.h>

#include "common/strbuf.h"

/*
 * Pieces of HTML (pure): text from outside is escaped, controls in it are made
 * visible; numbers and times look the same everywhere. All append to out.
 */

/* For text and for attribute values in double quotes. */
void html_add_text(struct strbuf *out, const char *text);

/* A text as the value of a URL's parameter, percent-encoded. */
void html_add_argument(struct strbuf *out, const char *text);

/* 1234567 as "1 234 567", with narrow no-break spaces. */
void html_add_count(struct strbuf *out, int64_t number);

/* "succeeded_with_rejections" as words. */
void html_add_words(struct strbuf *out, const char *code);

/*
 * How long ago an RFC 3339 time was, or how far away it is, in a <time> element with the
 * full time; "–" where there is none. now_us: UTC.
 */
void html_add_time(struct strbuf *out, const char *time, int64_t now_us);

#endif
