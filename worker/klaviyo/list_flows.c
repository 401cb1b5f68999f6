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
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    const json_t *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return document_refuse(response, "it holds no array of flows", err);

    size_t i;
    json_t *flow;
    int64_t n = 0;
    json_array_foreach(data, i, flow)
        n += is_live(flow);
    *live = n;
    return true;
}
