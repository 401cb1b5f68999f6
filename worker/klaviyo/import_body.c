#include "worker/klaviyo/import_body.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/visible_text.h"

#define TAIL_BEFORE_ID "]}},\"relationships\":{\"lists\":{\"data\":[{\"type\":\"list\",\"id\":\""
#define TAIL_AFTER_ID "\"}]}}}}"
#define PLAIN_TAIL "]}}}}"

const char import_body_head[] = "{\"data\":{\"type\":\"profile-bulk-import-job\","
                                "\"attributes\":{\"profiles\":{\"data\":[";

void import_body_add_tail(struct strbuf *out, const char *list_id)
{
    if (!list_id) {
        strbuf_add_str(out, PLAIN_TAIL);
        return;
    }
    strbuf_add_str(out, TAIL_BEFORE_ID);
    (void)visible_text_add(out, VISIBLE_JSON, list_id, strlen(list_id), SIZE_MAX);
    strbuf_add_str(out, TAIL_AFTER_ID);
}

size_t import_body_frame_bytes(const char *list_id)
{
    return strlen(import_body_head) + strlen(TAIL_BEFORE_ID) + strlen(TAIL_AFTER_ID) +
           visible_text_bytes(VISIBLE_JSON, list_id, strlen(list_id));
}

struct request import_body_request(const char *rows, size_t n, const struct strbuf *tail)
{
    assert(strbuf_ok(tail) && tail->len > 0);

    return (struct request){
        .endpoint = ENDPOINT_IMPORT,
        .body = { { import_body_head, strlen(import_body_head) },
                  { rows, n },
                  { tail->data, tail->len } },
    };
}
