#include "worker/http/kept_answer.h"

void kept_answer_init(struct kept_answer *kept)
{
    *kept =
        (struct kept_answer){ .body = STRBUF_INIT(KEPT_ANSWER_MAX_BYTES), .made_ms = INT64_MIN };
}

void kept_answer_release(struct kept_answer *kept)
{
    strbuf_release(&kept->body);
}

bool kept_answer_is_good(const struct kept_answer *kept, int64_t keep_ms, int64_t source_ms,
                         int64_t now_ms)
{
    return kept->made_ms > now_ms - keep_ms && kept->made_ms > source_ms;
}

void kept_answer_begin(struct kept_answer *kept, int64_t now_ms)
{
    strbuf_rewind(&kept->body, 0);
    kept->made_ms = now_ms;
}

void kept_answer_finish(struct kept_answer *kept)
{
    if (strbuf_ok(&kept->body))
        return;
    strbuf_rewind(&kept->body, 0);
    kept->status = 500;
}

void kept_answer_forget(struct kept_answer *kept)
{
    kept->made_ms = INT64_MIN;
}
