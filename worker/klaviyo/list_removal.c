#include "worker/klaviyo/list_removal.h"

#include <assert.h>

#define BODY_HEAD "{\"data\":["

void list_removal_begin(struct strbuf *body)
{
    strbuf_rewind(body, 0);
    strbuf_add_str(body, BODY_HEAD);
}

void list_removal_add(struct strbuf *body, const char *profile_id)
{
    strbuf_addf(body, "%s{\"type\":\"profile\",\"id\":\"%s\"}",
                body->len == sizeof BODY_HEAD - 1 ? "" : ",", profile_id);
}

void list_removal_end(struct strbuf *body)
{
    strbuf_add_str(body, "]}");
}

struct request list_removal_request(const char *list_id, const struct strbuf *body)
{
    assert(*list_id && strbuf_ok(body));
    return (struct request){
        .endpoint = ENDPOINT_LIST_REMOVE,
        .id = list_id,
        .body = { { body->data, body->len } },
    };
}
