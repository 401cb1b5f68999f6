#include "worker/store/freshness.h"

#include <stdlib.h>
#include <string.h>

#include "worker/store/statement.h"

static const char read_sql[] =
    "select x.name, coalesce((extract(epoch from s.at) * 1000000)::bigint, 0),"
    " (extract(epoch from x.changed_at) * 1000000)::bigint,"
    " coalesce(klaviyo.expected_every_s(x.expect_every_s, x.paused, x.pause_reason), 0),"
    " count(*) over ()"
    " from klaviyo.export x left join klaviyo.export_success s using (export_id)"
    " order by x.expect_every_s is null, x.export_id limit $1";

void freshness_release(struct freshness *freshness)
{
    for (size_t i = 0; i < freshness->n; i++)
        free(freshness->items[i].export_name);
    free(freshness->items);
    *freshness = (struct freshness){ .n = 0 };
}

static bool read_rows(const PGresult *rows, struct freshness *out, struct error *err)
{
    size_t n = (size_t)result_rows(rows);

    out->items = calloc(n + 1, sizeof *out->items);
    if (!out->items)
        return error_no_memory(err);
    for (; out->n < n; out->n++) {
        struct export_freshness *item = &out->items[out->n];
        int row = (int)out->n;
        if (!result_copy_text(rows, row, 0, &item->export_name, err))
            return false;
        item->last_success_us = result_int64(rows, row, 1);
        item->changed_us = result_int64(rows, row, 2);
        item->expected_every_s = result_int64(rows, row, 3);
    }
    out->omitted = n > 0 ? result_int64(rows, 0, 4) - (int64_t)n : 0;
    return true;
}

bool freshness_read(struct db *db, struct freshness *freshness, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(freshness_release) struct freshness read = { .n = 0 };
    struct args args = ARGS_INIT;

    args_int64(&args, FRESHNESS_MAX);
    if (!db_query(db, read_sql, &args, &rows, err) || !read_rows(rows, &read, err))
        return error_wrap(err, "looking when exports last succeeded");
    *freshness = read;
    read = (struct freshness){ .n = 0 };
    return true;
}

struct freshness freshness_copy(const struct freshness *freshness)
{
    struct freshness copy = { .items = calloc(freshness->n + 1, sizeof *copy.items),
                              .omitted = freshness->omitted };

    while (copy.items && copy.n < freshness->n) {
        struct export_freshness item = freshness->items[copy.n];
        item.export_name = strdup(item.export_name);
        if (!item.export_name)
            break;
        copy.items[copy.n++] = item;
    }
    copy.omitted += (int64_t)(freshness->n - copy.n);
    return copy;
}
