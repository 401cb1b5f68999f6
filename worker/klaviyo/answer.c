#include "worker/klaviyo/answer.h"

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

void answer_release(struct answer *answer)
{
    free(answer->content_type);
    free(answer->retry_after);
    free(answer->body);
    *answer = ANSWER_INIT;
}
