#ifndef WORKER_STORE_EXPORT_LISTS_H
#define WORKER_STORE_EXPORT_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/* The lists in Klaviyo that the exports of a connection fill. */
struct export_list {
    int64_t export_id, connection_id;
    char *export_name;
    char *list_id;
};

/* In order of the exports' names. Owns them; zeroes are none. */
struct export_lists {
    struct export_list *items;
    size_t n;
};

/* Reads them; *lists is the caller's to release. */
bool export_lists_of(struct db *db, const char *connection, struct export_lists *lists,
                     struct error *err) MUST_USE;
void export_lists_release(struct export_lists *lists);

/*
 * What Klaviyo calls the list; name NULL: it has no such list. Nothing is stored where the
 * export has another list by now.
 */
bool export_lists_store(struct db *db, const struct export_list *list, const char *name,
                        struct error *err) MUST_USE;

#endif
