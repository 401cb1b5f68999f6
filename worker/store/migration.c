#include "worker/store/migration.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/parse.h"
#include "migrations.h"
#include "worker/store/statement.h"

/* An arbitrary number of our own: the key of the advisory lock. */
#define LOCK_SQL "select pg_advisory_xact_lock(5540121768)"

static const char prepare_sql[] = "create schema if not exists klaviyo";

static const char table_sql[] = "create table if not exists klaviyo.migration ("
                                " version integer primary key, name text not null,"
                                " applied_at timestamptz not null default now(),"
                                " applied_by text not null default session_user)";

static const char version_sql[] = "select coalesce(max(version), 0) from klaviyo.migration";

static const char record_sql[] = "insert into klaviyo.migration (version, name) values ($1, $2)";

static const char exists_sql[] = "select to_regclass('klaviyo.migration') is not null";

/* "0003_work" is version 3. */
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

/* One transaction: the lock, a look at what is there, at most one file. */
static bool apply_next(struct db *db, int32_t *version, bool *applied, struct error *err)
{
    *applied = false;
    if (!db_query(db, LOCK_SQL, NULL, NULL, err) || !db_query(db, prepare_sql, NULL, NULL, err) ||
        !db_query(db, table_sql, NULL, NULL, err) || !read_version(db, version, err))
        return false;

    for (const struct migrations_file *file = migrations_files; file->name; file++) {
        if (version_of(file) <= *version)
            continue;
        if (!apply_file(db, file, err))
            return false;
        *version = version_of(file);
        *applied = true;
        break;
    }
    return true;
}

bool migration_apply(struct db *db, struct migration_report *report, struct error *err)
{
    struct migration_report done = { 0 };
    bool applied = true;

    while (applied) {
        if (!db_begin(db, err))
            return false;
        if (!apply_next(db, &done.version, &applied, err) || !db_commit(db, err)) {
            db_rollback(db);
            return false;
        }
        done.applied += applied;
    }
    *report = done;
    return true;
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
    return true;
}
