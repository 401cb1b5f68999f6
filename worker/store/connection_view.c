#include "worker/store/connection_view.h"

#include "worker/store/connections.h"
#include "worker/store/document.h"
#include "worker/store/statement.h"

static const char may_see_all_sql[] =
    "select has_column_privilege('klaviyo.connection', 'consent_by', 'select')";

/* While others use up the limit: the lowest pace of an endpoint, in percent, and until when. */
#define SLOWED                                                                              \
    " (select min(b.pace) from klaviyo.rate_budget b where " IS_SLOWED ") as pace,"         \
    " (select klaviyo.utc(max(b.slowed_until)) from klaviyo.rate_budget b where " IS_SLOWED \
    ") as slowed_until,"
#define IS_SLOWED                                                          \
    "b.account = coalesce(c.account_id, 'connection:' || c.connection_id)" \
    " and klaviyo.pace_of(b, clock_timestamp()) < 100"

#define CONNECTION_MEMBERS                                                                         \
    "c.name, c.kind, c.account_id, c.account_name, c.share," SLOWED                                \
    " case when c.attention_reason is not null then 'needs attention'"                             \
    " when c.verified_at is null then 'not verified' else 'ready' end as state,"                   \
    " c.attention_reason, klaviyo.utc(c.attention_at) as attention_at,"                            \
    " klaviyo.utc(c.verified_at) as verified_at,"                                                  \
    " (select count(*) from klaviyo.export x where x.connection_id = c.connection_id) as exports," \
    " array(select r.rolname from klaviyo.connection_grant g"                                      \
    " join pg_roles r on r.oid = klaviyo.granted_role(g)"                                          \
    " where g.connection_id = c.connection_id order by 1) as granted_to"

static const char list_sql[] =
    "select coalesce(json_agg(shown), '[]') from (select " CONNECTION_MEMBERS
    " from klaviyo.connection c order by c.name) as shown";

static const char show_sql[] =
    "select to_json(shown) from (select " CONNECTION_MEMBERS ","
    " c.scopes, c.consent_by, klaviyo.utc(c.consent_at) as consent_at, c.consent_version,"
    " c.export_user as made_by, klaviyo.utc(c.created_at) as made_at,"
    " klaviyo.utc(k.changed_at) as key_changed_at, k.changed_by as key_changed_by, k.key_pair_id"
    " from klaviyo.connection c left join klaviyo.connection_key k using (connection_id)"
    " where c.name = $1) as shown";

/* What a user sees to whom it was granted; of the exports those that the user may see. */
#define GRANTED_MEMBERS                                                   \
    "c.name, c.kind, klaviyo.connection_state(c.connection_id) as state," \
    " (select count(*) from klaviyo.export x where x.connection_id = c.connection_id) as exports"

static const char list_granted_sql[] =
    "select coalesce(json_agg(shown), '[]') from"
    " (select " GRANTED_MEMBERS " from klaviyo.connection c order by c.name) as shown";

static const char show_granted_sql[] =
    "select to_json(shown) from"
    " (select " GRANTED_MEMBERS " from klaviyo.connection c where c.name = $1) as shown";

static const char of_account_sql[] =
    "select string_agg(name, ', ' order by name) from klaviyo.connection"
    " where account_id = $1 and name <> $2";

bool connection_view_is_whole(struct db *db, bool *whole, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, may_see_all_sql, NULL, &rows, err))
        return error_wrap(err, "asking what of a connection may be seen");
    *whole = result_bool(rows, 0, 0);
    return true;
}

bool connection_view_list(struct db *db, bool whole, char **json, struct error *err)
{
    if (!db_query_document(db, whole ? list_sql : list_granted_sql, NULL, json, err))
        return error_wrap(err, "listing the connections");
    return true;
}

bool connection_view_show(struct db *db, bool whole, const char *name, char **json,
                          struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, name);
    if (!db_query_document(db, whole ? show_sql : show_granted_sql, &args, &found, err))
        return error_wrap(err, "connection %s", name);
    if (!found)
        return connections_missing(db, name, err);
    *json = found;
    return true;
}

bool connection_view_of_account(struct db *db, const char *account_id, const char *except,
                                char **names, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, account_id);
    args_text(&args, except);
    return db_query_document(db, of_account_sql, &args, names, err);
}
