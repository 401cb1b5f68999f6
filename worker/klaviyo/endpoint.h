#ifndef WORKER_KLAVIYO_ENDPOINT_H
#define WORKER_KLAVIYO_ENDPOINT_H

#include <stdbool.h>

/*
 * The endpoints of Klaviyo's API that this program knows.
 *
 * Every path that is ever asked for comes from this list. It holds nothing that
 * subscribes, unsubscribes, suppresses or deletes a profile: consent is not ours
 * to change, and there is no other way to name a path.
 */
enum endpoint {
    ENDPOINT_IMPORT,        /* POST /api/profile-bulk-import-jobs */
    ENDPOINT_JOB,           /* GET  /api/profile-bulk-import-jobs/{id} */
    ENDPOINT_JOBS,          /* GET  /api/profile-bulk-import-jobs */
    ENDPOINT_IMPORT_ERRORS, /* GET  /api/profile-bulk-import-jobs/{id}/import-errors */
    ENDPOINT_LIST,          /* GET  /api/lists/{id} */
    ENDPOINT_LIST_SIZE,     /* the same with its profile_count, which has a limit of its own */
    ENDPOINT_LISTS,         /* GET  /api/lists */
    ENDPOINT_LIST_PROFILES, /* GET  /api/lists/{id}/profiles */
    ENDPOINT_LIST_REMOVE,   /* DELETE /api/lists/{id}/relationships/profiles */
    ENDPOINT_PROFILES,      /* GET  /api/profiles */
    ENDPOINT_FLOWS,         /* GET  /api/lists/{id}/flow-triggers */
    ENDPOINT_ACCOUNTS,      /* GET  /api/accounts */
    ENDPOINT_USAGE,         /* GET  /api/billing-usage */
    ENDPOINT_COUNT
};

/* Sets of endpoints are unsigned numbers. */
#define ENDPOINT_BIT(endpoint) (1U << (endpoint))

/*
 * What Klaviyo admits for one account and endpoint, all callers together: the
 * figures of the OpenAPI description, revision 2026-07-15. Both are fixed
 * windows.
 */
struct endpoint_limit {
    int per_second;
    int per_minute;
};

/* "import", "job", …: the key of a rate limit and the label of a metric; stable. */
const char *endpoint_name(enum endpoint endpoint);

/* Requests for one account, published by Klaviyo. */
struct endpoint_limit endpoint_limit(enum endpoint endpoint);

/* The path is before + id + after; an endpoint without an id has no after (NULL). */
struct endpoint_path {
    const char *before;
    const char *after;
};

/* Static strings. */
struct endpoint_path endpoint_path(enum endpoint endpoint);

enum endpoint_method { ENDPOINT_GET, ENDPOINT_POST, ENDPOINT_DELETE };

/* How it is asked. */
enum endpoint_method endpoint_method(enum endpoint endpoint);

/* POST and DELETE: it has a body, and may change something in Klaviyo. */
bool endpoint_is_write(enum endpoint endpoint);

#endif
