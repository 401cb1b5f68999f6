#ifndef COMMON_BASE_URL_H
#define COMMON_BASE_URL_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * Where an API is: scheme://host[:port][/path], and nothing else. The one check
 * of it, which settings and client share. It is stricter than any URL parser, so
 * that what passes means the same to all of them: no user name, query, fragment,
 * escape, blank or backslash; a host of letters, digits, hyphens and dots, or an
 * IPv6 address in brackets.
 */

/*
 * ERROR_INPUT, with a text to go behind the setting's name. http:// passes to
 * this machine only, unless allow_http.
 */
bool base_url_check(const char *url, bool allow_http, struct error *err) MUST_USE;

/*
 * For a URL that has passed the check. True: localhost, 127.0.0.0/8 or ::1, written
 * out; a name that some resolver maps to this machine counts as another machine, and
 * so does one with a dot at its end.
 */
bool base_url_is_loopback(const char *url);

#endif
