#include "tests/simulator/operation.h"

#include <string.h>

static const struct limit limit_xs = { { { 1, 1 }, { 15, 60 } } };
static const struct limit limit_s = { { { 3, 1 }, { 60, 60 } } };
static const struct limit limit_m = { { { 10, 1 }, { 150, 60 } } };
static const struct limit limit_m_daily = { { { 10, 1 }, { 150, 60 }, { 150, 86400 } } };
static const struct limit limit_l = { { { 75, 1 }, { 750, 60 } } };

#define LISTS_READ SCOPE_LISTS_READ
#define BOTH_READ (SCOPE_LISTS_READ | SCOPE_PROFILES_READ)
#define BOTH_WRITE (SCOPE_LISTS_WRITE | SCOPE_PROFILES_WRITE)
#define CONSENT_WRITE (BOTH_WRITE | SCOPE_SUBSCRIPTIONS_WRITE)

static const struct {
    const char *name;
    const struct limit *limit;
    unsigned scopes;
} operations[N_OPERATIONS] = {
    [OP_IMPORT] = { "import", &limit_m, BOTH_WRITE },
    [OP_JOB] = { "job", &limit_m, BOTH_READ },
    [OP_JOBS] = { "jobs", &limit_m, BOTH_READ },
    [OP_JOB_LISTS] = { "job-lists", &limit_m, LISTS_READ },
    [OP_JOB_LIST_IDS] = { "job-lists", &limit_m, LISTS_READ },
    [OP_JOB_PROFILES] = { "job-profiles", &limit_m, SCOPE_PROFILES_READ },
    [OP_JOB_PROFILE_IDS] = { "job-profiles", &limit_m, SCOPE_PROFILES_READ },
    [OP_IMPORT_ERRORS] = { "import-errors", &limit_m, SCOPE_PROFILES_READ },
    [OP_LIST] = { "list", &limit_l, LISTS_READ },
    [OP_LISTS] = { "lists", &limit_l, LISTS_READ },
    [OP_LIST_CREATE] = { "list-create", &limit_m_daily, SCOPE_LISTS_WRITE },
    [OP_LIST_ADD] = { "list-add", &limit_m, BOTH_WRITE },
    [OP_LIST_REMOVE] = { "list-remove", &limit_m, BOTH_WRITE },
    [OP_LIST_MEMBERS] = { "list-members", &limit_l, BOTH_READ },
    [OP_LIST_MEMBER_IDS] = { "list-members", &limit_l, BOTH_READ },
    [OP_LIST_FLOWS] = { "flow-triggers", &limit_s, LISTS_READ | SCOPE_FLOWS_READ },
    [OP_PROFILES] = { "profiles", &limit_l, SCOPE_PROFILES_READ },
    [OP_PROFILE] = { "profile", &limit_l, SCOPE_PROFILES_READ },
    [OP_PROFILE_IMPORT] = { "profile-import", &limit_l, SCOPE_PROFILES_WRITE },
    [OP_ACCOUNTS] = { "account", &limit_xs, SCOPE_ACCOUNTS_READ },
    [OP_ACCOUNT] = { "account", &limit_xs, SCOPE_ACCOUNTS_READ },
    [OP_USAGE] = { "usage", &limit_m, SCOPE_USAGE_READ },
    [OP_SUBSCRIBE] = { "consent", &limit_l, CONSENT_WRITE },
    [OP_UNSUBSCRIBE] = { "consent", &limit_l, CONSENT_WRITE },
    [OP_SUPPRESS] = { "consent", &limit_l, SCOPE_PROFILES_WRITE | SCOPE_SUBSCRIPTIONS_WRITE },
    [OP_UNSUPPRESS] = { "consent", &limit_l, SCOPE_SUBSCRIPTIONS_WRITE },
    [OP_DELETION] = { "consent", &limit_s, SCOPE_DATA_PRIVACY_WRITE },
    [OP_PROFILE_COUNT] = { "profile-count", &limit_xs, 0 },
};

#define JOBS "/api/profile-bulk-import-jobs"

static const struct {
    const char *method, *pattern;
    enum operation operation;
} routes[] = {
    { "POST", JOBS, OP_IMPORT },
    { "GET", JOBS, OP_JOBS },
    { "GET", JOBS "/{id}", OP_JOB },
    { "GET", JOBS "/{id}/lists", OP_JOB_LISTS },
    { "GET", JOBS "/{id}/relationships/lists", OP_JOB_LIST_IDS },
    { "GET", JOBS "/{id}/profiles", OP_JOB_PROFILES },
    { "GET", JOBS "/{id}/relationships/profiles", OP_JOB_PROFILE_IDS },
    { "GET", JOBS "/{id}/import-errors", OP_IMPORT_ERRORS },
    { "GET", "/api/lists", OP_LISTS },
    { "POST", "/api/lists", OP_LIST_CREATE },
    { "GET", "/api/lists/{id}", OP_LIST },
    { "GET", "/api/lists/{id}/profiles", OP_LIST_MEMBERS },
    { "GET", "/api/lists/{id}/relationships/profiles", OP_LIST_MEMBER_IDS },
    { "GET", "/api/lists/{id}/flow-triggers", OP_LIST_FLOWS },
    { "POST", "/api/lists/{id}/relationships/profiles", OP_LIST_ADD },
    { "DELETE", "/api/lists/{id}/relationships/profiles", OP_LIST_REMOVE },
    { "GET", "/api/profiles", OP_PROFILES },
    { "GET", "/api/profiles/{id}", OP_PROFILE },
    { "POST", "/api/profile-import", OP_PROFILE_IMPORT },
    { "GET", "/api/accounts", OP_ACCOUNTS },
    { "GET", "/api/accounts/{id}", OP_ACCOUNT },
    { "GET", "/api/billing-usage", OP_USAGE },
    { "POST", "/api/profile-subscription-bulk-create-jobs", OP_SUBSCRIBE },
    { "POST", "/api/profile-subscription-bulk-delete-jobs", OP_UNSUBSCRIBE },
    { "POST", "/api/profile-suppression-bulk-create-jobs", OP_SUPPRESS },
    { "POST", "/api/profile-suppression-bulk-delete-jobs", OP_UNSUPPRESS },
    { "POST", "/api/data-privacy-deletion-jobs", OP_DELETION },
};

static const struct {
    const char *name;
    unsigned bit;
} scopes[] = {
    { "accounts:read", SCOPE_ACCOUNTS_READ },
    { "lists:read", SCOPE_LISTS_READ },
    { "lists:write", SCOPE_LISTS_WRITE },
    { "profiles:read", SCOPE_PROFILES_READ },
    { "profiles:write", SCOPE_PROFILES_WRITE },
    { "usage:read", SCOPE_USAGE_READ },
    { "subscriptions:read", SCOPE_SUBSCRIPTIONS_READ },
    { "subscriptions:write", SCOPE_SUBSCRIPTIONS_WRITE },
    { "data-privacy:write", SCOPE_DATA_PRIVACY_WRITE },
    { "flows:read", SCOPE_FLOWS_READ },
};

/* Copies one path segment and moves behind it. False if it is empty or too long. */
static bool take_segment(const char **path, char *id)
{
    size_t n = strcspn(*path, "/");

    if (n == 0 || n >= PATH_ID_MAX)
        return false;
    memcpy(id, *path, n);
    id[n] = '\0';
    *path += n;
    return true;
}

bool path_matches(const char *pattern, const char *path, char *id)
{
    static const char hole[] = "{id}";

    id[0] = '\0';
    while (*pattern) {
        if (strncmp(pattern, hole, sizeof hole - 1) == 0) {
            if (!take_segment(&path, id))
                return false;
            pattern += sizeof hole - 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return strcmp(path, "") == 0 || strcmp(path, "/") == 0;
}

enum route operation_find(const char *method, const char *path, enum operation *operation, char *id)
{
    enum route result = ROUTE_NO_PATH;

    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!path_matches(routes[i].pattern, path, id))
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            *operation = routes[i].operation;
            return ROUTE_FOUND;
        }
        result = ROUTE_NO_METHOD;
    }
    return result;
}

const char *operation_name(enum operation operation)
{
    return operations[operation].name;
}

const struct limit *operation_limit(enum operation operation)
{
    return operations[operation].limit;
}

unsigned operation_scopes(enum operation operation)
{
    return operations[operation].scopes;
}

bool operation_is_forbidden(enum operation operation)
{
    return operation >= OP_SUBSCRIBE && operation <= OP_DELETION;
}

unsigned scope_parse(const char *text)
{
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
        if (strcmp(scopes[i].name, text) == 0)
            return scopes[i].bit;
    return 0;
}

const char *scope_name(unsigned bit)
{
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
        if (scopes[i].bit == bit)
            return scopes[i].name;
    return "?";
}
