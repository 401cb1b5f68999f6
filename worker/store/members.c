#include "worker/store/members.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/store/statement.h"

/*
 * COPY takes no parameters, so the statement is put together: of numbers of our
 * own (an export's id, a run's, a position) and of what klaviyo.members_of()
 * makes of the segments' ids. Names and paths are looked up by the statement
 * itself. The ids must be there to be seen: PostgreSQL's planner takes a segment
 * that it cannot see for a large one, and would read every profile for a hundred
 * members. 4 MiB: 500 ids of 200 characters, each of four bytes and escaped.
 *
 * What a site's view calls an id is cast to text, its attributes to jsonb.
 */
enum { SQL_MAX_BYTES = 4 * 1024 * 1024, FIXED_FIELDS = 8 };

/*
 * Longer addresses and values are refused anyway (254 characters, 100,000 bytes
 * a profile): what is cut off need not travel, nor be held in memory. The cut of
 * an address stands in the statement.
 */
enum { FIELD_MAX_CHARACTERS = 100001 };

struct members {
    struct db *db;
    const struct run_task *task;
    struct strbuf source; /* the view and the segments, as a part of a statement */
    bool started;         /* the stream; else the first call of members_next() does */
    struct copy_reader reader;
    char *message; /* libpq's, of the row that is lent */
    struct copy_field *fields;
    size_t n_fields;
};

enum flag { FLAG_CONFIRMED = 1, FLAG_LISTED = 2, FLAG_REJECTED = 4, FLAG_SETTLED = 8 };

/* Long reads are ours to bound, not the site's; the sort gets some room. */
static const char settings_sql[] =
    "select set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true),"
    " set_config('idle_in_transaction_session_timeout', '0', true)";

/*
 * Starting parallel workers costs more than a small segment does, and the
 * planner knows little of a table that was filled a moment ago.
 */
enum { PARALLEL_FROM_ROWS = 100000 };

static const char not_parallel_sql[] =
    "select set_config('max_parallel_workers_per_gather', '0', true)";

static const char parallel_sql[] =
    "select set_config('max_parallel_workers_per_gather', reset_val, true) from pg_settings"
    " where name = 'max_parallel_workers_per_gather'";

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

/* The value that stands in the subquery as `name`, as jsonb. */
static void add_value(struct strbuf *sql, bool is_profile_id, const char *path_sql)
{
    if (is_profile_id)
        strbuf_add_str(sql, "to_jsonb(profile_id::text)");
    else
        strbuf_addf(sql, "(attributes::jsonb #> (%s))", path_sql);
}

static void add_field(struct strbuf *sql, const struct run_task *task, size_t i)
{
    char path_sql[160];

    (void)snprintf(path_sql, sizeof path_sql,
                   "select path from klaviyo.export_field where export_id = %" PRId64
                   " order by position offset %zu limit 1",
                   task->export_id, i);
    strbuf_add_str(sql, ", left(");
    add_value(sql, task->fields[i].is_profile_id, path_sql);
    strbuf_addf(sql, "::text, %d) as f%zu", FIELD_MAX_CHARACTERS, i);
}

/*
 * An address is cut at 320 characters (254 are the most that is sent), and what
 * the cut may have taken away is told beside it: was something not ASCII?
 */
#define ADDRESS_SQL "klaviyo.address_of(e #>> '{}')"
#define IS_TEXT_SQL "jsonb_typeof(e) = 'string'"

static void add_member_side(struct strbuf *sql, const struct members *members)
{
    const struct run_task *task = members->task;
    char path_sql[96];

    (void)snprintf(path_sql, sizeof path_sql,
                   "select email_path from klaviyo.export where export_id = %" PRId64,
                   task->export_id);
    strbuf_add_str(sql,
                   "select case when " IS_TEXT_SQL " then left(" ADDRESS_SQL ", 320) end"
                   " collate \"C\" as address,"
                   " case when " IS_TEXT_SQL " and octet_length(e #>> '{}') > 320 then"
                   " octet_length(" ADDRESS_SQL ") > length(" ADDRESS_SQL ") end as cut_not_ascii,"
                   " jsonb_typeof(e) not in ('string', 'null') as not_a_string,"
                   " true as is_member, p.* from (select profile_id::text as profile_id, ");
    add_value(sql, task->email_is_profile_id, path_sql);
    strbuf_add_str(sql, " as e");
    for (size_t i = 0; i < task->n_fields; i++)
        add_field(sql, task, i);
    strbuf_addf(sql, " from %s) p", members->source.data);
}

static void add_ledger_side(struct strbuf *sql, const struct run_task *task)
{
    strbuf_addf(sql,
                "select l.address, l.fingerprint, (b.batch_id is null)::integer * %d"
                " + l.listed::integer * %d + coalesce(l.rejected_batch = l.batch_id or"
                " b.batch_id > l.rejected_batch, false)::integer * %d"
                " + (l.batch_id >= %" PRId64 ")::integer * %d as flags",
                FLAG_CONFIRMED, FLAG_LISTED, FLAG_REJECTED, task->first_batch, FLAG_SETTLED);
    strbuf_addf(sql,
                " from klaviyo.ledger l left join klaviyo.batch b on b.batch_id = l.batch_id"
                " and b.state <> 'complete' and b.export_id = %" PRId64
                " where l.export_id = %" PRId64,
                task->export_id, task->export_id);
}

static void add_statement(struct strbuf *sql, const struct members *members)
{
    strbuf_add_str(sql, "copy (select m.profile_id, coalesce(m.address, l.address),"
                        " m.not_a_string::integer, l.address is not null, l.flags, l.fingerprint,"
                        " m.is_member, m.cut_not_ascii::integer");
    for (size_t i = 0; i < members->task->n_fields; i++)
        strbuf_addf(sql, ", m.f%zu", i);
    strbuf_add_str(sql, " from (");
    add_member_side(sql, members);
    strbuf_add_str(sql, ") m full join (");
    add_ledger_side(sql, members->task);
    strbuf_add_str(sql, ") l on l.address = m.address"
                        " order by coalesce(m.address, l.address) collate \"C\" nulls first,"
                        " m.profile_id collate \"C\") to stdout (format binary)");
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

static bool start_copy(const struct members *members, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);
    CLEANUP(result_freep) PGresult *rows = NULL;

    add_statement(&sql, members);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    rows = PQexec(db_handle(members->db), sql.data);
    if (PQresultStatus(rows) != PGRES_COPY_OUT)
        return source_failure(members->db, rows, err);
    return true;
}

bool members_open(struct members **out, struct db *db, const struct run_task *task,
                  struct error *err)
{
    CLEANUP(members_freep) struct members *members = calloc(1, sizeof *members);

    if (!members)
        return error_no_memory(err);
    members->db = db;
    members->n_fields = FIXED_FIELDS + task->n_fields;
    members->fields = calloc(members->n_fields, sizeof *members->fields);
    if (!members->fields)
        return error_no_memory(err);
    members->task = task;
    members->source = STRBUF_INIT(SQL_MAX_BYTES);
    if (!db_query(db, "begin isolation level repeatable read read only", NULL, NULL, err) ||
        !db_query(db, settings_sql, NULL, NULL, err) || !make_source(members, err))
        return false;
    *out = members_take(&members);
    return true;
}

/* A stream that was not read to its end leaves the connection of no use. */
void members_free(struct members *members)
{
    if (!members)
        return;
    PQfreemem(members->message);
    free(members->fields);
    strbuf_release(&members->source);
    if (PQtransactionStatus(db_handle(members->db)) != PQTRANS_ACTIVE)
        db_rollback(members->db);
    free(members);
}

static void read_member(const struct members *members, struct member *member)
{
    const struct copy_field *f = members->fields;
    int64_t flags = copy_int(&f[4]);

    *member = (struct member){
        .is_member = f[6].bytes != NULL,
        .profile_id = f[0],
        .address = f[1],
        .not_a_string = copy_int(&f[2]) == 1,
        .cut_not_ascii = copy_int(&f[7]) == 1,
        .known = f[3].bytes && f[3].len == 1 && f[3].bytes[0],
        .confirmed = flags & FLAG_CONFIRMED,
        .listed = flags & FLAG_LISTED,
        .rejected = flags & FLAG_REJECTED,
        .settled = flags & FLAG_SETTLED,
        .fingerprint = copy_int(&f[5]),
        .fields = f + FIXED_FIELDS,
    };
}

/* After the last row: did the statement end well? */
static enum members_next end_of_stream(struct members *members, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = PQgetResult(db_handle(members->db));

    if (PQresultStatus(rows) != PGRES_COMMAND_OK) {
        source_failure(members->db, rows, err);
        return MEMBERS_ERROR;
    }
    PQclear(PQgetResult(db_handle(members->db))); /* NULL: the connection is free again */
    return MEMBERS_END;
}

enum members_next members_next(struct members *members, struct member *member, struct error *err)
{
    if (!members->started && !start_copy(members, err))
        return MEMBERS_ERROR;
    members->started = true;
    for (;;) {
        PQfreemem(members->message);
        members->message = NULL;
        int len = PQgetCopyData(db_handle(members->db), &members->message, 0);
        if (len < 0)
            return end_of_stream(members, err);

        switch (copy_read(&members->reader, members->message, (size_t)len, members->fields,
                          members->n_fields)) {
        case COPY_ROW:
            read_member(members, member);
            return MEMBERS_ROW;
        case COPY_NO_ROW:
            break;
        case COPY_BROKEN:
            error_set(err, ERROR_RETRY, "the members cannot be read: the stream is damaged");
            return MEMBERS_ERROR;
        }
    }
}

static bool count(struct members *members, int64_t *n, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf sql = STRBUF_INIT(SQL_MAX_BYTES);
    CLEANUP(result_freep) PGresult *rows = NULL;

    strbuf_addf(&sql, "select count(*) from %s", members->source.data);
    if (!strbuf_ok(&sql))
        return error_no_memory(err);
    rows = PQexec(db_handle(members->db), sql.data);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        return source_failure(members->db, rows, err);
    *n = result_int64(rows, 0, 0);
    return true;
}

bool members_count(struct members *members, int64_t *n, struct error *err)
{
    int64_t found = 0;

    if (!db_query(members->db, not_parallel_sql, NULL, NULL, err) || !count(members, &found, err))
        return false;
    if (found >= PARALLEL_FROM_ROWS && !db_query(members->db, parallel_sql, NULL, NULL, err))
        return false;
    *n = found;
    return true;
}
