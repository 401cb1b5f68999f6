#include "worker/store/site_check.h"

#include <stdio.h>
#include <string.h>

#include "worker/store/statement.h"

#define VIEW "insights.segment_profile"

/* -- the server -- */

static const char server_sql[] = "select current_setting('server_encoding'), pg_is_in_recovery(),"
                                 " current_setting('transaction_read_only') = 'on'";

static bool check_server_row(const PGresult *rows, struct error *err)
{
    const char *encoding = result_text(rows, 0, 0);

    if (strcmp(encoding, "UTF8") != 0)
        return error_set(
            err, ERROR_INPUT,
            "its encoding is %s, and ids, names and attributes are UTF-8: make another "
            "database (create database ... encoding 'UTF8' template template0) and "
            "restore a dump of this one into it",
            encoding);
    if (result_bool(rows, 0, 1))
        return error_set(err, ERROR_INPUT,
                         "this server is a standby, which can only be read: name the primary in "
                         "DATABASE_URL, or several servers with target_session_attrs=read-write");
    if (result_bool(rows, 0, 2))
        return error_set(err, ERROR_INPUT,
                         "transactions are read-only: reset default_transaction_read_only "
                         "(alter database, alter role, or the server's configuration)");
    return true;
}

bool site_check_server(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_begin(db, err))
        return false;
    bool ok = db_query(db, server_sql, NULL, &rows, err) && check_server_row(rows, err);
    db_rollback(db);
    return ok;
}

/* -- the user -- */

static const char user_sql[] =
    "select current_user, pg_has_role(s.nspowner, 'member') or exists ("
    " select from pg_roles r where r.rolname in ('klaviyo_admin', 'klaviyo_contributor',"
    " 'klaviyo_viewer', 'klaviyo_worker') and pg_has_role(r.oid, 'member'))"
    " from pg_namespace s where s.nspname = 'klaviyo'";

bool site_check_user(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, user_sql, NULL, &rows, err))
        return false;
    if (result_rows(rows) == 0 || result_bool(rows, 0, 1)) /* no schema: `tables` says so */
        return true;
    return error_set(err, ERROR_INPUT,
                     "%s is not a member of any of our roles: for `run`, grant it klaviyo_worker; "
                     "for a person, klaviyo_admin, klaviyo_contributor or klaviyo_viewer",
                     result_text(rows, 0, 0));
}

static const char worker_sql[] =
    "select current_user, exists (select from pg_roles r where r.rolname = 'klaviyo_worker'"
    " and pg_has_role(r.oid, 'usage')) or exists (select from pg_namespace s"
    " where s.nspname = 'klaviyo' and pg_has_role(s.nspowner, 'usage'))";

bool site_check_worker(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, worker_sql, NULL, &rows, err))
        return false;
    if (result_bool(rows, 0, 1))
        return true;
    return error_set(err, ERROR_INPUT,
                     "%s has not the rights of klaviyo_worker, which `run` needs: name the "
                     "workers' user in DATABASE_URL, or grant klaviyo_worker to this one",
                     result_text(rows, 0, 0));
}

/* -- the rights of klaviyo_worker on what is ours -- */

/*
 * By name, for a table of an earlier or later version may not be there: of the
 * tables a run reads or writes those that klaviyo_worker may not, of the
 * functions that it calls those that it may not.
 */
static const char rights_sql[] =
    "with needed (name, privileges) as (values"
    " ('connection', 'select'), ('connection_key', 'select'), ('export', 'select'),"
    " ('export_segment', 'select'), ('export_field', 'select'),"
    " ('request', 'select, insert, update'), ('run', 'select, insert, update'),"
    " ('request_run', 'select, insert'), ('batch', 'select, insert, update, delete'),"
    " ('ledger', 'select, insert, update, delete'), ('rejection', 'select, insert, delete')),"
    " missing as ("
    " select 'usage on schema klaviyo' as what from pg_namespace s"
    " where s.nspname = 'klaviyo' and not has_schema_privilege('klaviyo_worker', s.oid, 'usage')"
    " union all select p.privilege || ' on ' || n.name"
    " from needed n join pg_class c on c.relname = n.name"
    " join pg_namespace s on s.oid = c.relnamespace and s.nspname = 'klaviyo',"
    " unnest(string_to_array(n.privileges, ', ')) as p(privilege)"
    " where not has_table_privilege('klaviyo_worker', c.oid, p.privilege)"
    " union all select 'execute on ' || p.proname from pg_proc p"
    " join pg_namespace s on s.oid = p.pronamespace and s.nspname = 'klaviyo'"
    " where p.proname in ('take_run', 'end_run', 'split_batch', 'members_of', 'address_of')"
    " and not has_function_privilege('klaviyo_worker', p.oid, 'execute'))"
    " select (select string_agg(what, ', ') from (select what from missing limit 3) as few),"
    " count(*) from missing";

bool site_check_rights(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, rights_sql, NULL, &rows, err))
        return false;
    int64_t missing = result_int64(rows, 0, 1);
    if (missing == 0)
        return true;
    return error_set(err, ERROR_INPUT,
                     "klaviyo_worker does not have %s%s, as after a restore without privileges: "
                     "run klaviyo-worker migrate as the owner of schema klaviyo, which grants them",
                     result_text(rows, 0, 0), missing > 3 ? " and more" : "");
}

/* -- the members -- */

static const char members_sql[] =
    "select c.oid is not null,"
    " (select string_agg(w.name, ', ') from unnest(array['segment_id', 'profile_id',"
    " 'attributes']) as w(name) where not exists (select from pg_attribute a"
    " where a.attrelid = c.oid and a.attname = w.name and not a.attisdropped)),"
    " has_schema_privilege('klaviyo_worker', s.oid, 'usage'),"
    " (select bool_and(has_column_privilege('klaviyo_worker', c.oid, a.attnum, 'select'))"
    " from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
    " and a.attname in ('segment_id', 'profile_id', 'attributes')),"
    " pg_has_role('klaviyo_worker', 'member')"
    " from (values (1)) as one (row)"
    " left join pg_namespace s on s.nspname = 'insights'"
    " left join pg_class c on c.relnamespace = s.oid and c.relname = 'segment_profile'";

static bool check_view(const PGresult *rows, struct error *err)
{
    if (!result_bool(rows, 0, 0))
        return error_set(
            err, ERROR_INPUT,
            "there is no view " VIEW ", from which runs read the members: make it with "
            "the columns segment_id, profile_id and attributes, and grant select on it "
            "to klaviyo_worker");
    if (!result_is_null(rows, 0, 1))
        return error_set(err, ERROR_INPUT,
                         VIEW " has no column %s: runs read segment_id, profile_id and attributes",
                         result_text(rows, 0, 1));
    if (!result_bool(rows, 0, 2))
        return error_set(err, ERROR_INPUT,
                         "klaviyo_worker may not use the schema insights: run `grant usage on "
                         "schema insights to klaviyo_worker`");
    if (!result_bool(rows, 0, 3))
        return error_set(err, ERROR_INPUT,
                         "klaviyo_worker may not read " VIEW ": run `grant select on " VIEW
                         " to klaviyo_worker`");
    return true;
}

/* One row is read with the casts of a run; 15 s are enough to see that it can be. */
static const char try_sql[] =
    "select count(segment), count(profile), count(attributes) from (select segment_id::text as"
    " segment, profile_id::text as profile, attributes::jsonb as attributes from " VIEW
    " limit 1) as tried";

static bool begin_as_worker(struct db *db, struct error *err)
{
    return db_begin(db, err) && db_query(db, "set local role klaviyo_worker", NULL, NULL, err) &&
           db_query(db, "set transaction read only", NULL, NULL, err) &&
           db_query(db, "set local statement_timeout = '15s'", NULL, NULL, err);
}

/* The site's words may quote a value of a row: only those about names are passed on. */
static bool try_reading(struct db *db, char detail[SITE_CHECK_DETAIL_BYTES], struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = PQexec(db_handle(db), try_sql);
    const char *state = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    if (PQresultStatus(rows) == PGRES_TUPLES_OK) {
        (void)snprintf(detail, SITE_CHECK_DETAIL_BYTES, "%s by klaviyo_worker",
                       result_int64(rows, 0, 0) > 0 ? "read" : "can be read, and is empty,");
        return true;
    }
    if (state && strcmp(state, "57014") == 0) {
        (void)snprintf(detail, SITE_CHECK_DETAIL_BYTES,
                       "slow: " VIEW " gave no row within 15 seconds");
        return true;
    }
    if (!state || strncmp(state, "42", 2) == 0)
        return db_failure(db, rows, VIEW " cannot be read by klaviyo_worker", err);
    return db_failure_without_words(rows,
                                    VIEW " raises an error when klaviyo_worker reads it: correct "
                                         "the view",
                                    err);
}

bool site_check_members(struct db *db, char detail[SITE_CHECK_DETAIL_BYTES], struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, members_sql, NULL, &rows, err) || !check_view(rows, err))
        return false;
    (void)snprintf(detail, SITE_CHECK_DETAIL_BYTES,
                   "not read: this user is no member of klaviyo_worker");
    if (!result_bool(rows, 0, 4))
        return true;
    bool ok = begin_as_worker(db, err) && try_reading(db, detail, err);
    db_rollback(db);
    return ok;
}
