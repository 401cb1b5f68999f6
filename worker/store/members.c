#include "worker/store/members.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/store/copy_stream.h"
#include "worker/store/statement.h"
#include "worker/store/transaction.h"

/*
 * COPY takes no parameters, so the statement is put together, of escaped literals and of
 * what klaviyo.members_of() makes of the segments' ids. They must be there to be seen:
 * PostgreSQL's planner takes a segment that it cannot see for a large one, and would read
 * every profile for a hundred members; and a path that a subquery looks up keeps the plan
 * from being parallel. 4 MiB: 500 ids of 200 characters, each of four bytes and escaped.
 *
 * What a site's view calls an id is cast to text, its attributes to jsonb.
 */
enum { SQL_MAX_BYTES = 4 * 1024 * 1024, FIXED_FIELDS = 3 };

/*
 * Longer addresses and values are refused anyway (254 characters, 100,000 bytes
 * a profile): what is cut off need not travel, nor be held in memory. The cut of
 * an address is in the statement.
 */
enum { FIELD_MAX_CHARACTERS = 100001 };

struct members {
    struct db *db;
    const struct run_task *task;
    struct strbuf source;  /* the view and the segments, as a part of a statement */
    struct strbuf columns; /* e (the address) and f0, f1, … of a profile's attributes */
    struct strbuf written; /* the address, as it is written */
    struct strbuf bytes;   /* of the fields, as texts */
    bool started;
    struct copy_stream stream;
};

/*
 * The sort gets some room: a million members of 100 bytes fit, over three processes.
 * Compiling expressions costs more than it saves.
 */
const char members_settings_sql[] =
    "select set_config('work_mem', '64MB', true), set_config('jit', 'off', true)";

/* Starting parallel workers costs more than a small segment does. */
static const char small_sql[] = "select set_config('max_parallel_workers_per_gather', '0', true)";

/*
 * A row costs more to unpack, trim and compare than PostgreSQL's planner assumes, so handing
 * it over pays sooner: 120,000 members took 0.9 s instead of 1.8 s (2 cores, in use).
 */
static const char large_sql[] = "select set_config('parallel_tuple_cost', '0.01', true)";

static const char source_sql[] =
    "select klaviyo.members_of(array(select segment_id from klaviyo.export_segment"
    " where export_id = $1), $1)";

static bool make_source(struct members *members, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, members->task->export_id);
    if (!db_query(members->db, source_sql, &args, &rows, err))
        return false;
    strbuf_add_str(&members->source, result_text(rows, 0, 0));
    return strbuf_ok(&members->source) || error_no_memory(err);
}

/*
 * The address, which is cut at 320 characters above the sort (254 are the most that is
 * sent). Empty, which no address is: the field holds something else than a text.
 */
static void add_address(struct strbuf *columns, const struct source_value *source)
{
    strbuf_addf(columns,
                "case jsonb_typeof(%s) when 'string' then klaviyo.address_of(%s)"
                " when 'number' then '' when 'boolean' then '' when 'object' then ''"
                " when 'array' then '' end collate \"C\" as address",
                source->value, source->words);
}

static bool make_columns(struct members *members, struct error *err)
{
    const struct run_task *task = members->task;
    struct strbuf *columns = &members->columns;

    add_address(columns, &task->address);
    strbuf_add_str(&members->written, task->address.words);
    strbuf_add_str(&members->bytes, "0::bigint");
    for (size_t i = 0; i < task->n_fields; i++) {
        const struct source_value *source = &task->fields[i].source;
        strbuf_addf(columns, ", left(%s::text, %d) as f%zu", source->value, FIELD_MAX_CHARACTERS,
                    i);
        strbuf_addf(&members->bytes, " + coalesce(octet_length(%s), 0)", source->words);
    }
    return (strbuf_ok(columns) && strbuf_ok(&members->written) && strbuf_ok(&members->bytes)) ||
           error_no_memory(err);
}

/*
 * The inner order by makes each address once, below the sort and by the parallel workers;
 * the outer one, which costs nothing, guarantees the order. What the cut of an address may
 * have taken away is reported next to it: was something not ASCII?
 */
static void add_statement(struct strbuf *sql, const struct members *members)
{
    strbuf_add_str(sql, "copy (select m.profile_id,"
                        " case when octet_length(m.address) > 320 then left(m.address, 320)"
                        " else m.address end,"
                        " case when octet_length(m.address) > 320"
                        " then (octet_length(m.address) > length(m.address))::integer end");
    for (size_t i = 0; i < members->task->n_fields; i++)
        strbuf_addf(sql, ", m.f%zu", i);
    strbuf_addf(sql,
                " from (select profile_id::text collate \"C\" as profile_id, %s from %s"
                " order by address nulls first, profile_id) m",
                members->columns.data, members->source.data);
    strbuf_add_str(sql, " order by m.address nulls first, m.profile_id)"
                        " to stdout (format binary)");
}

/*
 * Only these statements read what is not ours: their errors are the site's. Its
 * words may quote a value of a row, so only those about names are passed on.
 */
static bool source_failure(struct db *db, const PGresult *rows, struct error *err)
{
    const char *sqlstate = rows ? PQresultErrorField(rows, PG_DIAG_SQLSTATE) : NULL;

    if (!sqlstate || strncmp(sqlstate, "42", 2) == 0)
        return db_failure(db, rows, "the members cannot be read", err);
    return db_failure_without_words(rows,
                                    "the members cannot be read: insights.segment_profile "
                                    "raises an error",
                                    err);
}

bool members_open(struct members **out, struct db *db, const struct run_task *task,
                  struct error *err)
{
    CLEANUP(members_freep) struct members *members = calloc(1, sizeof *members);

    if (!members)
        return error_no_memory(err);
    members->db = db;
    members->task = task;
    members->source = members->columns = STRBUF_INIT(SQL_MAX_BYTES);
    members->written = members->bytes = STRBUF_INIT(SQL_MAX_BYTES);
    if (!db_query(db, members_settings_sql, NULL, NULL, err) || !make_source(members, err) ||
        !make_columns(members, err) ||
        !copy_stream_init(&members->stream, db, FIXED_FIELDS + task->n_fields, err))
        return false;
    *out = members_take(&members);
    return true;
}

void members_free(struct members *members)
{
    if (!members)
        return;
    copy_stream_release(&members->stream);
    strbuf_release(&members->source);
    strbuf_release(&members->columns);
    strbuf_release(&members->written);
    strbuf_release(&members->bytes);
    if (PQtransactionStatus(db_handle(members->db)) != PQTRANS_ACTIVE)
        db_rollback(members->db);
    free(members);
}

bool members_start(struct members *members, bool large, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);

    if (!db_query(members->db, large ? large_sql : small_sql, NULL, NULL, err))
        return false;
    add_statement(&sql, members);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    members->started = true;
    return copy_stream_start(&members->stream, sql.data) ||
           source_failure(members->db, members->stream.failure, err);
}

static void read_member(const struct members *members, struct member *member)
{
    const struct bytes *f = members->stream.fields;

    *member = (struct member){ .profile_id = f[0],
                               .address = f[1],
                               .cut_not_ascii = copy_int(&f[2]) == 1,
                               .fields = f + FIXED_FIELDS };
    if (member->address.at && member->address.n == 0) {
        member->not_a_string = true;
        member->address = BYTES_NONE;
    }
}

enum members_next members_next(struct members *members, struct member *member, struct error *err)
{
    assert(members->started);
    switch (copy_stream_next(&members->stream)) {
    case COPY_STREAM_ROW:
        read_member(members, member);
        return MEMBERS_ROW;
    case COPY_STREAM_END:
        return MEMBERS_END;
    case COPY_STREAM_FAILED:
        source_failure(members->db, members->stream.failure, err);
        return MEMBERS_ERROR;
    case COPY_STREAM_BROKEN:
        break;
    }
    error_set(err, ERROR_RETRY, "the members cannot be read: the stream is damaged");
    return MEMBERS_ERROR;
}

bool members_count_moved(const struct members *members, int64_t *n, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);
    CLEANUP(result_freep) PGresult *rows = NULL;

    strbuf_addf(&sql,
                "select count(*) from (select distinct profile_id, address from"
                " (select profile_id::text collate \"C\" as profile_id, %s from %s) s) m"
                " join klaviyo.ledger l on l.export_id = %" PRId64
                " and l.profile_id collate \"C\" = m.profile_id and l.address <> m.address"
                " where klaviyo.is_address(m.address)",
                members->columns.data, members->source.data, members->task->export_id);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    rows = transaction_ask(db_handle(members->db), sql.data);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        return source_failure(members->db, rows, err);
    *n = result_int64(rows, 0, 0);
    return true;
}

bool members_count(const struct members *members, struct db *db, int64_t at_most, int64_t *n,
                   struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (at_most > 0)
        strbuf_addf(&sql, "select count(*) from (select from %s limit %" PRId64 ") m",
                    members->source.data, at_most);
    else
        strbuf_addf(&sql, "select count(*) from %s", members->source.data);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    rows = transaction_ask(db_handle(db), sql.data);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        return source_failure(db, rows, err);
    *n = result_int64(rows, 0, 0);
    return true;
}

static bool start_addresses(const struct members *members, struct copy_stream *stream,
                            int64_t values_bytes, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);

    strbuf_addf(&sql,
                "copy (select case when %s <= %" PRId64 " then left(%s, 255) end from %s)"
                " to stdout (format binary)",
                members->bytes.data, values_bytes, members->written.data, members->source.data);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    return copy_stream_start(stream, sql.data) || source_failure(stream->db, stream->failure, err);
}

bool members_each_address(const struct members *members, struct db *db, int64_t values_bytes,
                          members_address *take, void *opaque, struct error *err)
{
    CLEANUP(copy_stream_release) struct copy_stream stream = { .db = db };
    enum copy_stream_next next;

    if (!copy_stream_init(&stream, db, 1, err) ||
        !start_addresses(members, &stream, values_bytes, err))
        return false;
    while ((next = copy_stream_next(&stream)) == COPY_STREAM_ROW)
        take(opaque, &stream.fields[0]);
    return next == COPY_STREAM_END || source_failure(db, stream.failure, err);
}
