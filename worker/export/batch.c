#include "worker/export/batch.h"

#include <assert.h>

#define JOINT ",\n"

void batch_init(struct batch *batch, const struct batch_limits *limits)
{
    assert(limits->rows > 0);
    *batch = (struct batch){ .limits = *limits, .body = STRBUF_INIT(limits->bytes) };
}

void batch_release(struct batch *batch)
{
    strbuf_release(&batch->body);
    batch->rows = 0;
}

void batch_clear(struct batch *batch)
{
    strbuf_rewind(&batch->body, 0);
    batch->rows = 0;
}

enum batch_add batch_add(struct batch *batch, const char *object, size_t len)
{
    size_t joint = batch->rows > 0 ? sizeof JOINT - 1 : 0;
    size_t before = batch->body.len;
    size_t room = batch->limits.bytes - before;

    assert(len <= batch->limits.bytes);
    if (batch->rows == batch->limits.rows || joint > room || len > room - joint)
        return BATCH_FULL;

    strbuf_add(&batch->body, JOINT, joint);
    strbuf_add(&batch->body, object, len);
    if (!strbuf_ok(&batch->body)) {
        strbuf_rewind(&batch->body, before);
        return BATCH_NO_MEMORY;
    }
    batch->rows++;
    return BATCH_ADDED;
}
