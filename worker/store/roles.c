#include "worker/store/roles.h"

#include <stdlib.h>

#include "worker/store/document.h"
#include "worker/store/statement.h"

#define ROLES                                                                           \
    "array['klaviyo_admin', 'klaviyo_contributor', 'klaviyo_viewer', 'klaviyo_worker'," \
    " 'klaviyo_definer', 'klaviyo_source']"

static const char missing_sql[] = "select string_agg(name, ', ') from unnest(" ROLES ") as name"
                                  " where not exists (select from pg_roles where rolname = name)";

/* SET is a right of its own since PostgreSQL 16; before, every member had it. */
#define NOT_MINE                                                                                  \
    "(select o.name from unnest(array['klaviyo_definer', 'klaviyo_source']) as o(name)"           \
    " left join pg_roles r on r.rolname = o.name"                                                 \
    " where not (select rolsuper from pg_roles where rolname = current_user)"                     \
    " and not coalesce(case when current_setting('server_version_num')::integer >= 160000"        \
    " then pg_has_role(current_user, r.oid, 'SET') and pg_has_role(current_user, r.oid, 'USAGE')" \
    " else pg_has_role(current_user, r.oid, 'MEMBER') end, false))"

static const char needed_sql[] =
    "select nullif(concat_ws(E'\n',"
    " (select string_agg(format('create role %I nologin;', r.name), E'\n' order by r.n)"
    " from unnest(" ROLES ") with ordinality as r(name, n)"
    " where not exists (select from pg_roles where rolname = r.name)),"
    " (select format('grant %s to %I;', string_agg(m.name, ', '), current_user)"
    " from " NOT_MINE " as m having count(*) > 0)), ''),"
    " (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)";

/*
 * Another database's migration may be faster: then the role is there, which is
 * all we want. What this user may not do shows in a second query.
 */
static const char create_sql[] =
    "do $$\n"
    "declare\n"
    "    v_name text;\n"
    "begin\n"
    "    foreach v_name in array " ROLES " loop\n"
    "        begin\n"
    "            if to_regrole(v_name) is null then\n"
    "                execute format('create role %I nologin', v_name);\n"
    "            end if;\n"
    "        exception when duplicate_object or unique_violation then\n"
    "            null;\n"
    "        end;\n"
    "    end loop;\n"
    "    for v_name in select m.name from " NOT_MINE " as m loop\n"
    "        begin\n"
    "            execute format('grant %I to %I', v_name, current_user);\n"
    "        exception when insufficient_privilege or unique_violation or internal_error then\n"
    "            null;\n"
    "        end;\n"
    "    end loop;\n"
    "end\n"
    "$$";

/* A site may grant workers the columns of its view alone. */
static const char source_sql[] =
    "with reader (role, relations) as (values"
    " ('klaviyo_worker', '{segment_profile}'::text[]),"
    " ('klaviyo_source', '{segment,segment_profile}'))"
    " select nullif(concat_ws(E'\n',"
    " (select string_agg(format('grant usage on schema insights to %s;', r.role), E'\n'"
    " order by r.role desc) from reader r"
    " where not has_schema_privilege(r.role, 'insights', 'usage')),"
    " (select string_agg(format('grant select on %s to %s;', c.oid::regclass, r.role), E'\n'"
    " order by r.role desc, c.relname) from reader r join pg_class c"
    " on c.relnamespace = 'insights'::regnamespace and c.relname = any (r.relations)"
    " where not case r.role when 'klaviyo_worker'"
    " then has_any_column_privilege(r.role, c.oid, 'select')"
    " else has_table_privilege(r.role, c.oid, 'select') end)), '')";

/* A row only for a user whose migration would fail for more than missing roles. */
static const char stranger_sql[] =
    "select current_user, pg_get_userbyid(s.nspowner), current_database()"
    " from (values (1)) as one (row) left join pg_namespace s on s.nspname = 'klaviyo'"
    " where not case when s.oid is null then has_database_privilege(current_database(), 'create')"
    " else pg_has_role(s.nspowner, 'usage') end";

/* A user who gets the statements could read every key and row with what they grant. */
static bool check_owner(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, stranger_sql, NULL, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return true;
    const char *user = result_text(rows, 0, 0);
    if (result_is_null(rows, 0, 1))
        return error_set(err, ERROR_INPUT,
                         "%s may not create schema klaviyo in database %s: run it as the owner "
                         "of the database",
                         user, result_text(rows, 0, 2));
    return error_set(err, ERROR_INPUT,
                     "%s may not migrate this database: run it as %s, the owner of schema klaviyo",
                     user, result_text(rows, 0, 1));
}

/* *statements: what is still to be done; NULL: nothing. */
static bool ask_needed(struct db *db, char **statements, bool *may_create, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, needed_sql, NULL, &rows, err))
        return false;
    *may_create = result_bool(rows, 0, 1);
    return result_copy_text(rows, 0, 0, statements, err);
}

bool roles_create(struct db *db, enum roles_outcome *outcome, char **statements, struct error *err)
{
    char *needed = NULL;
    bool may_create;

    if (!check_owner(db, err) || !ask_needed(db, &needed, &may_create, err))
        return false;
    *outcome = ROLES_PRESENT;
    if (needed && may_create) {
        free(needed);
        if (!db_query(db, create_sql, NULL, NULL, err))
            return error_wrap(err, "creating the roles");
        if (!ask_needed(db, &needed, &may_create, err))
            return false;
        *outcome = ROLES_CREATED;
    }
    if (needed)
        *outcome = ROLES_FORBIDDEN;
    *statements = needed;
    return true;
}

bool roles_source_grants(struct db *db, char **statements, struct error *err)
{
    return db_query_document(db, source_sql, NULL, statements, err);
}

bool roles_check(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, missing_sql, NULL, &rows, err))
        return false;
    if (result_is_null(rows, 0, 0))
        return true;
    return error_set(err, ERROR_INPUT, "missing on this server: %s: run klaviyo-worker migrate",
                     result_text(rows, 0, 0));
}
