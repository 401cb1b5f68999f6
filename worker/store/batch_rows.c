#include "worker/store/batch_rows.h"

void batch_rows_init(struct batch_rows *rows)
{
    binary_array_init(&rows->addresses, ARRAY_OF_TEXT);
    binary_array_init(&rows->fingerprints, ARRAY_OF_INT8);
    binary_array_init(&rows->profile_ids, ARRAY_OF_TEXT);
    binary_array_init(&rows->listed, ARRAY_OF_BOOL);
    binary_array_init(&rows->filled, ARRAY_OF_INT8);
    rows->n = 0;
    rows->n_known = 0;
}

void batch_rows_release(struct batch_rows *rows)
{
    binary_array_release(&rows->addresses);
    binary_array_release(&rows->fingerprints);
    binary_array_release(&rows->profile_ids);
    binary_array_release(&rows->listed);
    binary_array_release(&rows->filled);
}

void batch_rows_clear(struct batch_rows *rows)
{
    binary_array_clear(&rows->addresses);
    binary_array_clear(&rows->fingerprints);
    binary_array_clear(&rows->profile_ids);
    binary_array_clear(&rows->listed);
    binary_array_clear(&rows->filled);
    rows->n = 0;
    rows->n_known = 0;
}

void batch_rows_add(struct batch_rows *rows, const struct batch_row *row)
{
    binary_array_text(&rows->addresses, row->address.at, row->address.n);
    binary_array_int64(&rows->fingerprints, row->fingerprint);
    binary_array_text(&rows->profile_ids, row->profile_id.at, row->profile_id.n);
    binary_array_bool(&rows->listed, row->listed);
    binary_array_int64(&rows->filled, (int64_t)row->filled);
    rows->n++;
    rows->n_known += row->known;
}
