#include "worker/klaviyo/list_flows.h"

#include <assert.h>
#include <string.h>

#include "worker/klaviyo/document.h"

struct request list_flows_request(const char *id)
{
    assert(*id);
    return (struct request){ .endpoint = ENDPOINT_FLOWS, .id = id };
}

static bool is_live(const json_t *flow)
{
    const json_t *attributes = json_object_get(flow, "attributes");
    const char *status = json_string_value(json_object_get(attributes, "status"));

    return status && strcmp(status, "live") == 0 &&
           !json_is_true(json_object_get(attributes, "archived"));
}

bool list_flows_parse(const struct response *response, int64_t *live, struct error *err)
{
    CLEANUP(document_page_release) struct document_page page = DOCUMENT_PAGE_INIT;

    if (!document_page_parse(response, "it holds no array of flows", &page, err))
        return false;

    size_t i;
    json_t *flow;
    int64_t n = 0;
    json_array_foreach(page.data, i, flow)
        n += is_live(flow);
    *live = n;
    return true;
}
