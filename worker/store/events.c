#include "worker/store/events.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "worker/store/statement.h"

enum {
    ARRAY_MAX_BYTES = 32 * 1024 * 1024, /* a few thousand events of some 2 KiB */
    IDS_MAX_BYTES = 1024 * 1024,
    COLUMNS = 16,
};

static const char accept_sql[] =
    "select request_id, state from klaviyo.accept_events((select"
    " array_agg(row(topic, partition, record_offset, record_ms, source, event_id, segment_id,"
    " refresh_id, refreshed_at, trigger, export_name, full_refresh, confirm_removals, traceparent,"
    " reason, detail)::klaviyo.event order by n)"
    " from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],"
    " $7::text[], $8::text[], $9::timestamptz[], $10::text[], $11::text[], $12::boolean[],"
    " $13::boolean[], $14::text[], $15::text[], $16::text[])"
    " with ordinality as e(topic, partition, record_offset, record_ms, source, event_id,"
    " segment_id, refresh_id, refreshed_at, trigger, export_name, full_refresh, confirm_removals,"
    " traceparent, reason, detail, n)))";

/*
 * Names as in the header of a dead letter (worker/ingest/export_names.h): one that
 * cannot stand in a list as it is becomes a JSON string.
 */
#define FAILED_EXPORTS                                                                          \
    "(select string_agg(case when name ~ '[,\"\\\\\\u0001-\\u001f\\u007f-\\u009f\\u061c\\u200e" \
    "\\u200f\\u2028-\\u202e\\u2066-\\u2069]|^ | $' then to_json(name)::text else name end,"     \
    " ',' order by nth) from unnest(q.failed_exports) with ordinality as u(name, nth))"

static const char ended_sql[] =
    "select i.id, coalesce(q.state, 'done'), q.reason, q.detail,"
    " " FAILED_EXPORTS ", q.failed_run"
    " from unnest($1::bigint[]) i(id) left join klaviyo.request q on q.request_id = i.id"
    " where q.state is distinct from 'open'";

static const char mark_sql[] = "update klaviyo.request set state = 'dead_lettered'"
                               " where request_id = any($1::bigint[])"
                               " and state = 'dead_letter_due'";

static enum event_row_state state_of(const char *text)
{
    static const char *const names[] = { "open", "done", "ignored", "dead_letter_due",
                                         "dead_lettered" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum event_row_state)i;
    assert(false && "a state that the schema does not know");
    abort();
}

/* The events as columns: one array a parameter of accept_sql. */
struct columns {
    struct strbuf of[COLUMNS];
};

static void columns_open(struct columns *c)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        c->of[i] = STRBUF_INIT(ARRAY_MAX_BYTES);
        array_open(&c->of[i]);
    }
}

static void columns_release(struct columns *c)
{
    for (size_t i = 0; i < COLUMNS; i++)
        strbuf_release(&c->of[i]);
}

static void add_string(struct strbuf *array, const char *text)
{
    array_text(array, text, text ? strlen(text) : 0);
}

static void add_time(struct strbuf *array, const struct event_row *in)
{
    char text[CLOCK_TEXT_BYTES];

    clock_format_us(in->refreshed_at_us, text);
    add_string(array, in->reason ? NULL : text);
}

static void columns_add(struct columns *c, const struct event_row *in)
{
    add_string(&c->of[0], in->topic);
    array_int64(&c->of[1], in->partition);
    array_int64(&c->of[2], in->offset);
    array_int64(&c->of[3], in->timestamp_ms);
    add_string(&c->of[4], in->source);
    add_string(&c->of[5], in->event_id);
    add_string(&c->of[6], in->segment_id);
    add_string(&c->of[7], in->refresh_id);
    add_time(&c->of[8], in);
    add_string(&c->of[9], in->trigger);
    add_string(&c->of[10], in->export_name);
    add_string(&c->of[11], in->full ? "t" : "f");
    add_string(&c->of[12], in->confirm_removals ? "t" : "f");
    add_string(&c->of[13], in->traceparent);
    add_string(&c->of[14], in->reason);
    add_string(&c->of[15], in->detail);
}

static bool args_columns(struct args *args, struct columns *c, struct error *err)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        array_close(&c->of[i]);
        if (!args_array(args, &c->of[i], err))
            return false;
    }
    return true;
}

bool events_accept(struct db *db, const struct event_row *in, size_t n,
                   struct event_row_result *out, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(columns_release) struct columns columns;
    struct args args = ARGS_INIT;

    columns_open(&columns);
    for (size_t i = 0; i < n; i++)
        columns_add(&columns, &in[i]);
    if (!args_columns(&args, &columns, err) ||
        !FAILPOINT_AROUND("accept", db_query(db, accept_sql, &args, &rows, err)))
        return false;

    assert(result_rows(rows) == (int)n);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct event_row_result){ result_int64(rows, (int)i, 0),
                                            state_of(result_text(rows, (int)i, 1)) };
    return true;
}

/* The ids as one array parameter; the buffer must outlive the query. */
static bool args_ids(struct args *args, struct strbuf *array, const int64_t *ids, size_t n,
                     struct error *err)
{
    array_open(array);
    for (size_t i = 0; i < n; i++)
        array_int64(array, ids[i]);
    array_close(array);
    return args_array(args, array, err);
}

static char *copy_text(const PGresult *rows, int row, int column)
{
    const char *text = result_text(rows, row, column);

    return text ? strdup(text) : NULL;
}

static void read_end(const PGresult *rows, int row, struct event_row_end *end)
{
    end->request_id = result_int64(rows, row, 0);
    end->state = state_of(result_text(rows, row, 1));
    end->reason = copy_text(rows, row, 2);
    end->detail = copy_text(rows, row, 3);
    end->exports = copy_text(rows, row, 4);
    end->run_id = result_int64(rows, row, 5);
}

bool events_ended(struct db *db, const int64_t *ids, size_t n, struct event_row_end **ends,
                  size_t *n_ends, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(strbuf_release) struct strbuf array = STRBUF_INIT(IDS_MAX_BYTES);
    struct args args = ARGS_INIT;

    if (!args_ids(&args, &array, ids, n, err) || !db_query(db, ended_sql, &args, &rows, err))
        return false;

    size_t count = (size_t)result_rows(rows);
    struct event_row_end *found = calloc(count + 1, sizeof *found);
    if (!found)
        return error_no_memory(err);
    for (size_t i = 0; i < count; i++)
        read_end(rows, (int)i, &found[i]);
    *ends = found;
    *n_ends = count;
    return true;
}

void event_row_ends_free(struct event_row_end *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(ends[i].reason);
        free(ends[i].detail);
        free(ends[i].exports);
    }
    free(ends);
}

bool events_mark_dead_lettered(struct db *db, const int64_t *ids, size_t n, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf array = STRBUF_INIT(IDS_MAX_BYTES);
    struct args args = ARGS_INIT;

    return args_ids(&args, &array, ids, n, err) &&
           FAILPOINT_AROUND("mark_dead_lettered", db_query(db, mark_sql, &args, NULL, err));
}
