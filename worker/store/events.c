#include "worker/store/events.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "worker/store/guard.h"
#include "worker/store/statement.h"

enum {
    ARRAY_MAX_BYTES = 32 * 1024 * 1024, /* a few thousand events of some 2 KiB */
    IDS_MAX_BYTES = 1024 * 1024,
    LOCK_MS = 1000, /* longer than any transaction of ours holds an export */
    LOCK_ONE_MS = 50,
    COLUMNS = 17,
};

static const char accept_sql[] =
    "select request_id, state from klaviyo.take_in((select"
    " array_agg(row(topic, partition, record_offset, record_ms, source, event_id, segment_id,"
    " refresh_id, refreshed_at, trigger, export_name, full_refresh, confirm_removals, traceparent,"
    " reason, detail)::klaviyo.event order by n)"
    " from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],"
    " $7::text[], $8::text[], $9::timestamptz[], $10::text[], $11::text[], $12::boolean[],"
    " $13::boolean[], $14::text[], $15::text[], $16::text[])"
    " with ordinality as e(topic, partition, record_offset, record_ms, source, event_id,"
    " segment_id, refresh_id, refreshed_at, trigger, export_name, full_refresh, confirm_removals,"
    " traceparent, reason, detail, n)), $18::integer, $19::boolean, $17::text[])";

/* The rows of events that wait: $1 names the topic, each array has one element for each event. */
#define WAITING                                                       \
    "unnest($2::bigint[], $3::integer[], $4::bigint[], $5::bigint[])" \
    " with ordinality as w(request_id, partition, record_offset, record_ms, nth)"
#define IS_ITS_ROW                                                               \
    "q.request_id = w.request_id and q.topic = $1 and q.partition = w.partition" \
    " and q.record_offset = w.record_offset and q.record_ms = w.record_ms"

/*
 * Names as in the header of a dead letter (worker/ingest/export_names.h): one that
 * cannot be in a list as it is becomes a JSON string.
 */
#define FAILED_EXPORTS                                                                          \
    "(select string_agg(case when name ~ '[,\"\\\\\\u0001-\\u001f\\u007f-\\u009f\\u061c\\u200e" \
    "\\u200f\\u2028-\\u202e\\u2066-\\u2069]|^ | $' then to_json(name)::text else name end,"     \
    " ',' order by nth) from unnest(q.failed_exports) with ordinality as u(name, nth))"

static const char ended_sql[] = "select w.nth, coalesce(q.state, 'missing'), q.reason, q.detail,"
                                " " FAILED_EXPORTS ", q.failed_run, q.traceparent"
                                " from " WAITING " left join klaviyo.request q on " IS_ITS_ROW
                                " where q.state is distinct from 'open' order by w.nth";

static const char mark_sql[] =
    "update klaviyo.request q set state = 'dead_lettered'"
    " from " WAITING " where " IS_ITS_ROW " and q.state = 'dead_letter_due'";

/* Those whose rows nobody has locked; the others come back. */
static const char mark_free_sql[] =
    "with free as (select q.request_id, w.nth"
    " from " WAITING " join klaviyo.request q on " IS_ITS_ROW
    " where q.state = 'dead_letter_due' for no key update of q skip locked),"
    " marked as (update klaviyo.request q set state = 'dead_lettered'"
    " from free where q.request_id = free.request_id)"
    " select w.nth from " WAITING " join klaviyo.request q on " IS_ITS_ROW
    " where q.state = 'dead_letter_due' and w.nth not in (select nth from free)";

static const char lock_holder_sql[] = "select pid, usename, application_name"
                                      " from klaviyo.lock_holder() where pid is not null";

static enum event_row_state state_of(const char *text)
{
    static const char *const names[] = { "open",          "done",    "ignored", "dead_letter_due",
                                         "dead_lettered", "blocked", "missing" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum event_row_state)i;
    assert(false && "a state that the schema does not know");
    abort();
}

/* The events as columns: one array per parameter of accept_sql. */
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

static void add_guards(struct strbuf *array, unsigned confirmed)
{
    char text[GUARD_SET_BYTES];

    guard_set_write(confirmed, text);
    add_string(array, text);
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
    add_guards(&c->of[16], in->confirmed);
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

/* Class 22: data; 23: a constraint. The same event would be refused again. */
static bool is_refusal(const char *sqlstate)
{
    return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0;
}

static enum events_accepted why_not_accepted(const struct db *db)
{
    if (db_was_blocked(db))
        return EVENTS_BLOCKED;
    return is_refusal(db_sqlstate(db)) ? EVENTS_REFUSED : EVENTS_FAILED;
}

enum events_accepted events_accept(struct db *db, const struct event_row *in, size_t n,
                                   bool one_by_one, struct event_row_result *out, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(columns_release) struct columns columns = { 0 };
    struct args args = ARGS_INIT;

    columns_open(&columns);
    for (size_t i = 0; i < n; i++)
        columns_add(&columns, &in[i]);
    if (!args_columns(&args, &columns, err))
        return EVENTS_FAILED;
    args_int64(&args, one_by_one ? LOCK_ONE_MS : LOCK_MS);
    args_bool(&args, one_by_one);
    if (!FAILPOINT_AROUND("accept", db_query(db, accept_sql, &args, &rows, err)))
        return why_not_accepted(db);

    assert(result_rows(rows) == (int)n);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct event_row_result){ result_int64(rows, (int)i, 0),
                                            state_of(result_text(rows, (int)i, 1)) };
    return EVENTS_ACCEPTED;
}

/* The waiting events as parameters of a statement with WAITING in it. */
struct waiting_columns {
    struct strbuf ids, partitions, offsets, times;
};

static void waiting_columns_release(struct waiting_columns *c)
{
    strbuf_release(&c->ids);
    strbuf_release(&c->partitions);
    strbuf_release(&c->offsets);
    strbuf_release(&c->times);
}

/* The buffers must outlive the query. */
static bool args_waiting(struct args *args, struct waiting_columns *c,
                         const struct event_keys *keys, struct error *err)
{
    struct strbuf *const all[] = { &c->ids, &c->partitions, &c->offsets, &c->times };

    args_text(args, keys->topic);
    for (size_t k = 0; k < 4; k++) {
        *all[k] = STRBUF_INIT(IDS_MAX_BYTES);
        array_open(all[k]);
    }
    for (size_t i = 0; i < keys->n; i++) {
        array_int64(&c->ids, keys->items[i].request_id);
        array_int64(&c->partitions, keys->items[i].partition);
        array_int64(&c->offsets, keys->items[i].offset);
        array_int64(&c->times, keys->items[i].timestamp_ms);
    }
    for (size_t k = 0; k < 4; k++) {
        array_close(all[k]);
        if (!args_array(args, all[k], err))
            return false;
    }
    return true;
}

static bool read_end(const PGresult *rows, int row, struct event_row_end *end, struct error *err)
{
    end->nth = (size_t)result_int64(rows, row, 0) - 1;
    end->state = state_of(result_text(rows, row, 1));
    end->run_id = result_int64(rows, row, 5);
    return result_copy_text(rows, row, 2, &end->reason, err) &&
           result_copy_text(rows, row, 3, &end->detail, err) &&
           result_copy_text(rows, row, 4, &end->exports, err) &&
           result_copy_text(rows, row, 6, &end->traceparent, err);
}

static void event_row_end_release(struct event_row_end *end)
{
    free(end->reason);
    free(end->detail);
    free(end->exports);
    free(end->traceparent);
}

void event_row_ends_release(struct event_row_ends *ends)
{
    for (size_t i = 0; i < ends->n; i++)
        event_row_end_release(&ends->items[i]);
    free(ends->items);
    *ends = (struct event_row_ends){ .n = 0 };
}

static bool read_ends(const PGresult *rows, struct event_row_ends *ends, struct error *err)
{
    size_t n = (size_t)result_rows(rows);

    ends->items = calloc(n + 1, sizeof *ends->items);
    if (!ends->items)
        return error_no_memory(err);
    for (; ends->n < n; ends->n++)
        if (!read_end(rows, (int)ends->n, &ends->items[ends->n], err)) {
            event_row_end_release(&ends->items[ends->n]);
            return false;
        }
    return true;
}

bool events_ended(struct db *db, const struct event_keys *keys, struct event_row_ends *ends,
                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(waiting_columns_release) struct waiting_columns columns = { 0 };
    CLEANUP(event_row_ends_release) struct event_row_ends read = { .n = 0 };
    struct args args = ARGS_INIT;

    if (!args_waiting(&args, &columns, keys, err) || !db_query(db, ended_sql, &args, &rows, err) ||
        !read_ends(rows, &read, err))
        return false;
    *ends = read;
    read = (struct event_row_ends){ .n = 0 };
    return true;
}

static bool mark(struct db *db, const char *sql, const struct args *args, int64_t lock_ms,
                 PGresult **rows, struct error *err)
{
    db_set_lock_timeout(db, lock_ms);
    bool ok = FAILPOINT_AROUND("mark_dead_lettered", db_query(db, sql, args, rows, err));
    db_set_lock_timeout(db, DB_LOCK_TIMEOUT_MS);
    return ok;
}

/* A lock on the whole table holds up all of them. */
static bool mark_free(struct db *db, const struct args *args, bool *held, size_t n,
                      struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct error why = ERROR_INIT;
    bool ok = mark(db, mark_free_sql, args, LOCK_ONE_MS, &rows, &why);

    if (!ok && !db_was_blocked(db)) {
        *err = why;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        held[i] = !ok;
    for (int row = 0; ok && row < result_rows(rows); row++)
        held[result_int64(rows, row, 0) - 1] = true;
    return true;
}

bool events_mark_dead_lettered(struct db *db, const struct event_keys *keys, bool at_once,
                               bool *held, struct error *err)
{
    CLEANUP(waiting_columns_release) struct waiting_columns columns = { 0 };
    struct args args = ARGS_INIT;
    struct error why = ERROR_INIT;

    if (!args_waiting(&args, &columns, keys, err))
        return false;
    if (!at_once && mark(db, mark_sql, &args, LOCK_MS, NULL, &why)) {
        memset(held, 0, keys->n * sizeof *held);
        return true;
    }
    if (at_once || db_was_blocked(db))
        return mark_free(db, &args, held, keys->n, err);
    *err = why;
    return false;
}

bool events_lock_holder(struct db *db, struct lock_holder *holder, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, lock_holder_sql, NULL, &rows, err))
        return false;
    *holder = (struct lock_holder){ .pid = 0 };
    if (result_rows(rows) == 0)
        return true;
    holder->pid = result_int64(rows, 0, 0);
    (void)snprintf(holder->user, sizeof holder->user, "%s", result_text(rows, 0, 1));
    (void)snprintf(holder->application, sizeof holder->application, "%s", result_text(rows, 0, 2));
    return true;
}
