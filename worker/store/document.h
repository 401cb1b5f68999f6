#ifndef WORKER_STORE_DOCUMENT_H
#define WORKER_STORE_DOCUMENT_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/statement.h"

/*
 * What people get to see is made by one statement as one JSON document: the
 * first column of its first row. The commands print it as it is or as a table.
 * Only the modules of store/ include this.
 *
 * *json is the caller's; NULL where there is no row, or a null in it.
 */
bool db_query_document(struct db *db, const char *sql, const struct args *args, char **json,
                       struct error *err) MUST_USE;

#endif
