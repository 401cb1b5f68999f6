#include "worker/klaviyo/endpoint.h"

#include <assert.h>
#include <stddef.h>

#define JOBS "/api/profile-bulk-import-jobs"

struct endpoint_facts {
    const char *name;
    struct endpoint_path path;
    struct endpoint_limit limit;
    enum endpoint_method method;
};

static const struct endpoint_facts facts[ENDPOINT_COUNT] = {
    [ENDPOINT_IMPORT] = { "import", { JOBS, NULL }, { 10, 150 }, ENDPOINT_POST },
    [ENDPOINT_JOB] = { "job", { JOBS "/", "" }, { 10, 150 }, ENDPOINT_GET },
    [ENDPOINT_JOBS] = { "jobs", { JOBS, NULL }, { 10, 150 }, ENDPOINT_GET },
    [ENDPOINT_IMPORT_ERRORS] = { "import_errors",
                                 { JOBS "/", "/import-errors" },
                                 { 10, 150 },
                                 ENDPOINT_GET },
    [ENDPOINT_LIST] = { "list", { "/api/lists/", "" }, { 75, 750 }, ENDPOINT_GET },
    [ENDPOINT_LIST_SIZE] = { "list_size", { "/api/lists/", "" }, { 1, 15 }, ENDPOINT_GET },
    [ENDPOINT_LISTS] = { "lists", { "/api/lists", NULL }, { 75, 750 }, ENDPOINT_GET },
    [ENDPOINT_LIST_PROFILES] = { "list_profiles",
                                 { "/api/lists/", "/profiles" },
                                 { 75, 750 },
                                 ENDPOINT_GET },
    [ENDPOINT_LIST_REMOVE] = { "list_remove",
                               { "/api/lists/", "/relationships/profiles" },
                               { 10, 150 },
                               ENDPOINT_DELETE },
    [ENDPOINT_PROFILES] = { "profiles", { "/api/profiles", NULL }, { 75, 750 }, ENDPOINT_GET },
    [ENDPOINT_FLOWS] = { "flows", { "/api/lists/", "/flow-triggers" }, { 3, 60 }, ENDPOINT_GET },
    [ENDPOINT_ACCOUNTS] = { "accounts", { "/api/accounts", NULL }, { 1, 15 }, ENDPOINT_GET },
    [ENDPOINT_USAGE] = { "usage", { "/api/billing-usage", NULL }, { 10, 150 }, ENDPOINT_GET },
};

static const struct endpoint_facts *facts_of(enum endpoint endpoint)
{
    assert(endpoint < ENDPOINT_COUNT);
    return &facts[endpoint];
}

const char *endpoint_name(enum endpoint endpoint)
{
    return facts_of(endpoint)->name;
}

struct endpoint_limit endpoint_limit(enum endpoint endpoint)
{
    return facts_of(endpoint)->limit;
}

struct endpoint_path endpoint_path(enum endpoint endpoint)
{
    return facts_of(endpoint)->path;
}

enum endpoint_method endpoint_method(enum endpoint endpoint)
{
    return facts_of(endpoint)->method;
}

bool endpoint_is_write(enum endpoint endpoint)
{
    return endpoint_method(endpoint) != ENDPOINT_GET;
}
