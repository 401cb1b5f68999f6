#ifndef WORKER_STORE_DATABASE_URL_H
#define WORKER_STORE_DATABASE_URL_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The text that says where the database is: a URI or keyword=value, as libpq takes
 * them. It holds a password, and one that is not escaped turns up as host, port or
 * database. So a text that is wrong is described by its kind, in words of ours: no
 * part of it, and nothing of what libpq says about it, is ever passed on.
 *
 * False: ERROR_INPUT; the words go on after the name of the setting. Pure.
 */
bool database_url_check(const char *text, struct error *err) MUST_USE;

#endif
