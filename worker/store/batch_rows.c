#include "worker/store/batch_rows.h"

#include "worker/store/statement.h"

void batch_rows_init(struct batch_rows *rows)
{
    array_init(&rows->addresses);
    array_init(&rows->fingerprints);
    array_init(&rows->profile_ids);
    array_init(&rows->listed);
    array_init(&rows->filled);
    rows->n = 0;
}

void batch_rows_release(struct batch_rows *rows)
{
    strbuf_release(&rows->addresses);
    strbuf_release(&rows->fingerprints);
    strbuf_release(&rows->profile_ids);
    strbuf_release(&rows->listed);
    strbuf_release(&rows->filled);
}

void batch_rows_clear(struct batch_rows *rows)
{
    array_restart(&rows->addresses);
    array_restart(&rows->fingerprints);
    array_restart(&rows->profile_ids);
    array_restart(&rows->listed);
    array_restart(&rows->filled);
    rows->n = 0;
}

void batch_rows_add(struct batch_rows *rows, const struct batch_row *row)
{
    array_text(&rows->addresses, row->address, row->address_len);
    array_int64(&rows->fingerprints, row->fingerprint);
    array_text(&rows->profile_ids, row->profile_id, row->profile_id_len);
    array_text(&rows->listed, row->listed ? "t" : "f", 1);
    array_int64(&rows->filled, (int64_t)row->filled);
    rows->n++;
}
