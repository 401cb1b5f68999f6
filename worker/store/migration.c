#include "worker/store/migration.h"

#include <poll.h>
#include <stdlib.h>

#include "common/failpoint.h"
#include "common/parse.h"
#include "migrations.h"
#include "worker/store/site_check.h"
#include "worker/store/statement.h"

enum {
    WAITS_MAX = 20,       /* times LOCK_TIMEOUT: a minute */
    PAUSE_MS = 300,       /* after a failure that did not wait by itself */
    WHO_MAX_BYTES = 1024, /* of the text that names who holds locks */
};
#define LOCK_TIMEOUT "3s"

/*
 * Another migration may be faster: then it exists, which is all we want. "if not exists" would ask
 * for the right to make a schema also where there is nothing to make.
 */
static const char prepare_sql[] =
    "do $$\n"
    "begin\n"
    "    if to_regnamespace('klaviyo') is null then\n"
    "        create schema klaviyo;\n"
    "    end if;\n"
    "    if to_regclass('klaviyo.migration') is null then\n"
    "        create table klaviyo.migration ("
    " version integer primary key, name text not null,"
    " applied_at timestamptz not null default now(),"
    " applied_by text not null default session_user);\n"
    "    end if;\n"
    "exception when unique_violation or duplicate_schema or duplicate_table or duplicate_object"
    " then null;\n"
    "end\n"
    "$$";

static const char bound_sql[] = "select set_config('lock_timeout', '" LOCK_TIMEOUT "', true)";

/* No advisory lock, which anybody could hold. Readers of the table do not conflict. */
static const char lock_sql[] = "lock table klaviyo.migration in exclusive mode";

/*
 * Sessions that have locked something of ours for longer than a worker's statement does.
 * The time is null where this user may not see it.
 */
static const char holders_sql[] =
    "select string_agg(format('server process %s of user %s', h.pid, h.usename), ', ')"
    " from (select a.pid, a.usename from pg_stat_activity a where a.pid <> pg_backend_pid()"
    " and coalesce(clock_timestamp() - a.xact_start > interval '2 s', true)"
    " and exists (select from pg_locks l join pg_class c on c.oid = l.relation"
    " where l.pid = a.pid and l.granted and c.relnamespace = 'klaviyo'::regnamespace"
    " and l.database = (select oid from pg_database where datname = current_database()))"
    " order by a.xact_start limit 3) h";

static const char version_sql[] = "select coalesce(max(version), 0) from klaviyo.migration";

static const char record_sql[] = "insert into klaviyo.migration (version, name) values ($1, $2)";

/* Of this program's version: a newer one sets its own. */
static const char record_rights_sql[] = "update klaviyo.migration set rights_at = clock_timestamp()"
                                        " where version = $1 and rights_at is null";

static const char has_rights_sql[] =
    "select exists (select from klaviyo.migration where version >= $1 and rights_at is not null)";

static const char exists_sql[] = "select to_regclass('klaviyo.migration') is not null";

/* "0003_work" is version 3; "rights" has no version: it is applied each time. */
static int32_t version_of(const struct migrations_file *file)
{
    char digits[5];
    int64_t version = 0;

    (void)snprintf(digits, sizeof digits, "%.4s", file->name);
    (void)!parse_int64(digits, 1, 9999, &version);
    return (int32_t)version;
}

static int32_t newest_version(void)
{
    int32_t newest = 0;

    for (const struct migrations_file *file = migrations_files; file->name; file++)
        if (version_of(file) > newest)
            newest = version_of(file);
    return newest;
}

static bool read_version(struct db *db, int32_t *version, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, version_sql, NULL, &rows, err))
        return false;
    *version = (int32_t)result_int64(rows, 0, 0);
    return true;
}

/* The text of a file is many statements: the simple protocol takes them. */
static bool run_file(struct db *db, const struct migrations_file *file, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = PQexec(db_handle(db), file->text);

    if (PQresultStatus(rows) == PGRES_COMMAND_OK || PQresultStatus(rows) == PGRES_TUPLES_OK)
        return true;
    return db_failure(db, rows, file->name, err);
}

static bool apply_file(struct db *db, const struct migrations_file *file, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, version_of(file));
    args_text(&args, file->name);
    return run_file(db, file, err) && db_query(db, record_sql, &args, NULL, err);
}

struct step {
    int32_t version; /* that the database has */
    bool applied;    /* there may be more */
};

/* One transaction: the lock, a look at what is there, at most one file. */
static bool apply_next(struct db *db, struct step *step, struct error *err)
{
    if (!read_version(db, &step->version, err))
        return false;
    for (const struct migrations_file *file = migrations_files; file->name; file++) {
        if (version_of(file) <= step->version)
            continue;
        if (!apply_file(db, file, err))
            return false;
        step->version = version_of(file);
        step->applied = true;
        return true;
    }
    return true;
}

static bool apply_rights(struct db *db, struct step *step, struct error *err)
{
    struct args args = ARGS_INIT;

    (void)step;
    for (const struct migrations_file *file = migrations_files; file->name; file++)
        if (version_of(file) == 0 && !run_file(db, file, err))
            return false;
    args_int64(&args, newest_version());
    return db_query(db, record_rights_sql, &args, NULL, err);
}

typedef bool step_fn(struct db *db, struct step *step, struct error *err);

static bool attempt(struct db *db, step_fn *take_step, struct step *step, struct error *err)
{
    *step = (struct step){ .applied = false };
    if (!db_begin(db, err))
        return false;
    if (db_query(db, bound_sql, NULL, NULL, err) && db_query(db, lock_sql, NULL, NULL, err) &&
        take_step(db, step, err) && db_commit(db, err))
        return true;
    db_rollback(db);
    return false;
}

/* False where nobody can be named. */
static bool holders(struct db *db, char *who)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct error ignored = ERROR_INIT;

    *who = '\0';
    if (!db_query(db, holders_sql, NULL, &rows, &ignored) || result_is_null(rows, 0, 0))
        return false;
    (void)snprintf(who, WHO_MAX_BYTES, "%s", result_text(rows, 0, 0));
    return true;
}

/* Waits for sessions that hold locks, names them, and gives up after a while. */
static bool in_transaction(struct db *db, step_fn *take_step, migration_waiting *waiting,
                           struct step *step, struct error *err)
{
    char who[WHO_MAX_BYTES] = "";
    struct error why = ERROR_INIT;
    const int waits = FAILPOINT_BOUND("migrate_waits", WAITS_MAX);

    for (int i = 0; i < waits; i++) {
        why = ERROR_INIT;
        if (attempt(db, take_step, step, &why))
            return true;
        if (why.kind != ERROR_RETRY || !db_is_up(db))
            break;
        if (holders(db, who))
            waiting(who);
        (void)poll(NULL, 0, PAUSE_MS);
    }
    *err = why;
    return *who ? error_wrap(err, "waited for %s", who) : false;
}

bool migration_apply(struct db *db, migration_waiting *waiting, struct migration_report *report,
                     struct error *err)
{
    struct migration_report done = { 0 };
    struct step step = { .applied = true };

    if (!site_check_server(db, err))
        return error_wrap(err, "the database cannot be used");
    if (!db_query(db, prepare_sql, NULL, NULL, err))
        return false;
    while (step.applied) {
        if (!in_transaction(db, apply_next, waiting, &step, err))
            return false;
        done.applied += step.applied;
        done.version = step.version;
    }
    if (!in_transaction(db, apply_rights, waiting, &step, err))
        return false;
    *report = done;
    return true;
}

/* A migration may have broken off between its last file and the rights. */
static bool check_rights(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, newest_version());
    if (!db_query(db, has_rights_sql, &args, &rows, err))
        return false;
    if (result_bool(rows, 0, 0))
        return true;
    return error_set(err, ERROR_INPUT,
                     "the last migration broke off before it set the rights of version %d: "
                     "run klaviyo-worker migrate",
                     newest_version());
}

bool migration_check(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    int32_t version;

    if (!db_query(db, exists_sql, NULL, &rows, err))
        return false;
    if (!result_bool(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "the database has no klaviyo tables: run klaviyo-worker migrate");
    if (!read_version(db, &version, err))
        return false;
    if (version < newest_version())
        return error_set(err, ERROR_INPUT,
                         "the database is at version %d, this program needs %d: "
                         "run klaviyo-worker migrate",
                         version, newest_version());
    return check_rights(db, err);
}
