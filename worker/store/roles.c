#include "worker/store/roles.h"

#include "worker/store/statement.h"

const char roles_statements[] = "create role klaviyo_admin nologin;\n"
                                "create role klaviyo_contributor nologin;\n"
                                "create role klaviyo_viewer nologin;\n"
                                "create role klaviyo_worker nologin;\n";

static const char missing_sql[] =
    "select string_agg(name, ', '),"
    " (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)"
    " from unnest(array['klaviyo_admin', 'klaviyo_contributor', 'klaviyo_viewer',"
    " 'klaviyo_worker']) as name"
    " where not exists (select from pg_roles where rolname = name)";

/* Another database's migration may be faster: then the role is there, which is all we want. */
static const char create_sql[] =
    "do $$\n"
    "declare\n"
    "    v_name text;\n"
    "begin\n"
    "    foreach v_name in array array['klaviyo_admin', 'klaviyo_contributor', 'klaviyo_viewer',\n"
    "                                  'klaviyo_worker'] loop\n"
    "        begin\n"
    "            execute format('create role %I nologin', v_name);\n"
    "        exception when duplicate_object or unique_violation then\n"
    "            null;\n"
    "        end;\n"
    "    end loop;\n"
    "end\n"
    "$$";

bool roles_create(struct db *db, enum roles_outcome *outcome, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, missing_sql, NULL, &rows, err))
        return false;
    if (result_is_null(rows, 0, 0)) {
        *outcome = ROLES_PRESENT;
        return true;
    }
    if (!result_bool(rows, 0, 1)) {
        *outcome = ROLES_FORBIDDEN;
        return true;
    }
    if (!db_query(db, create_sql, NULL, NULL, err))
        return error_wrap(err, "making the roles");
    *outcome = ROLES_CREATED;
    return true;
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
