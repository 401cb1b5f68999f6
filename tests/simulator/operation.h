#ifndef SIMULATOR_OPERATION_H
#define SIMULATOR_OPERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "tests/simulator/limit.h"

/*
 * The operations: which request is which, what it may cost and what a key must
 * be allowed for it. One table, from the published specification.
 */
enum operation {
    OP_IMPORT,
    OP_JOB,
    OP_JOBS,
    OP_JOB_LISTS,
    OP_JOB_LIST_IDS,
    OP_JOB_PROFILES,
    OP_JOB_PROFILE_IDS,
    OP_IMPORT_ERRORS,
    OP_LIST,
    OP_LISTS,
    OP_LIST_CREATE,
    OP_LIST_ADD,
    OP_LIST_REMOVE,
    OP_LIST_MEMBERS,
    OP_LIST_MEMBER_IDS,
    OP_LIST_FLOWS,
    OP_PROFILES,
    OP_PROFILE,
    OP_PROFILE_IMPORT,
    OP_ACCOUNTS,
    OP_ACCOUNT,
    OP_USAGE,
    OP_SUBSCRIBE,
    OP_UNSUBSCRIBE,
    OP_SUPPRESS,
    OP_UNSUPPRESS,
    OP_DELETION,
    /* Not an operation: the second, stricter limit of additional-fields[list]=profile_count. */
    OP_PROFILE_COUNT,
    N_OPERATIONS,
};

enum {
    SCOPE_ACCOUNTS_READ = 1 << 0,
    SCOPE_LISTS_READ = 1 << 1,
    SCOPE_LISTS_WRITE = 1 << 2,
    SCOPE_PROFILES_READ = 1 << 3,
    SCOPE_PROFILES_WRITE = 1 << 4,
    SCOPE_USAGE_READ = 1 << 5,
    SCOPE_SUBSCRIPTIONS_READ = 1 << 6,
    SCOPE_SUBSCRIPTIONS_WRITE = 1 << 7,
    SCOPE_DATA_PRIVACY_WRITE = 1 << 8,
    SCOPE_FLOWS_READ = 1 << 9,
    SCOPES_DEFAULT = (1 << 5) - 1, /* the five that the worker asks for */
    SCOPES_ALL = (1 << 10) - 1,
};

enum { PATH_ID_MAX = 160 };

enum route {
    ROUTE_FOUND,
    ROUTE_NO_PATH,   /* 404 */
    ROUTE_NO_METHOD, /* 405 */
};

/*
 * Which operation a request is. path is decoded, without the query; a slash at
 * its end does not matter. id (PATH_ID_MAX bytes) receives the part that the
 * path names, "" if there is none.
 */
enum route operation_find(const char *method, const char *path, enum operation *operation, char *id)
    MUST_USE;

/* The short name used in faults and in the diary; several operations may share one. */
const char *operation_name(enum operation operation);

const struct limit *operation_limit(enum operation operation);

unsigned operation_scopes(enum operation operation);

/* Changes consent or deletes people: never to be called. */
bool operation_is_forbidden(enum operation operation);

/* "lists:read" to its bit; 0: no such scope. */
unsigned scope_parse(const char *text);
const char *scope_name(unsigned bit);

/*
 * Whether path matches a pattern such as "/a/{id}/b"; what stands for {id} is
 * copied to id, which has room for PATH_ID_MAX bytes.
 */
bool path_matches(const char *pattern, const char *path, char *id) MUST_USE;

#endif
