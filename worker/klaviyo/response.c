#include "worker/klaviyo/response.h"

#include <assert.h>
#include <stdlib.h>

const char *transport_name(enum transport transport)
{
    static const char *const names[] = {
        [TRANSPORT_ANSWERED] = "answered",   [TRANSPORT_UNREACHABLE] = "unreachable",
        [TRANSPORT_TIMED_OUT] = "timed_out", [TRANSPORT_BROKEN] = "broken",
        [TRANSPORT_OVERSIZE] = "oversize",
    };

    assert(transport < sizeof names / sizeof names[0]);
    return names[transport];
}

void response_release(struct response *response)
{
    free(response->content_type);
    free(response->retry_after);
    free(response->body);
    *response = RESPONSE_INIT;
}
