#include "worker/klaviyo/endpoint.h"

#include <assert.h>
#include <stddef.h>

#define JOBS "/api/profile-bulk-import-jobs"

struct endpoint_facts {
    const char *name;
    struct endpoint_path path;
    struct endpoint_limit limit;
    bool has_body;
};

static const struct endpoint_facts facts[ENDPOINT_COUNT] = {
    [ENDPOINT_IMPORT] = { "import", { JOBS, NULL }, { 10, 150 }, true },
    [ENDPOINT_JOB] = { "job", { JOBS "/", "" }, { 10, 150 }, false },
    [ENDPOINT_JOBS] = { "jobs", { JOBS, NULL }, { 10, 150 }, false },
    [ENDPOINT_IMPORT_ERRORS] = { "import_errors",
                                 { JOBS "/", "/import-errors" },
                                 { 10, 150 },
                                 false },
    [ENDPOINT_LIST] = { "list", { "/api/lists/", "" }, { 75, 750 }, false },
    [ENDPOINT_ACCOUNTS] = { "accounts", { "/api/accounts", NULL }, { 1, 15 }, false },
    [ENDPOINT_USAGE] = { "usage", { "/api/billing-usage", NULL }, { 10, 150 }, false },
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

bool endpoint_has_body(enum endpoint endpoint)
{
    return facts_of(endpoint)->has_body;
}
