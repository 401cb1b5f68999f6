#ifndef WORKER_STORE_FRESHNESS_H
#define WORKER_STORE_FRESHNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * When each export's list was last brought up to date, and how often that is
 * expected. Times are microseconds since 1970.
 */
struct export_freshness {
    char *export_name;
    int64_t last_success_us;  /* 0: it never succeeded */
    int64_t changed_us;       /* the last change of the export */
    int64_t expected_every_s; /* 0: nothing is expected of it */
};

/* Bounded, so that metrics are: those with an expectation come first. */
enum { FRESHNESS_MAX = 500 };

struct freshness {
    struct export_freshness *items;
    size_t n;
    int64_t omitted; /* exports beyond FRESHNESS_MAX */
};

/* *freshness is the caller's, to be released. */
bool freshness_read(struct db *db, struct freshness *freshness, struct error *err) MUST_USE;

/* Without memory the copy is shorter, and the others count as omitted. */
struct freshness freshness_copy(const struct freshness *freshness);
void freshness_release(struct freshness *freshness);

#endif
