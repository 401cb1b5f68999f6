#include "worker/store/account_plan.h"

#include "worker/store/statement.h"

static const char note_sql[] =
    "insert into klaviyo.account_plan as p (account, used, maximum)"
    " values ($1, $2, nullif($3::bigint, -1)) on conflict (account) do update"
    " set used = excluded.used, maximum = excluded.maximum, told_at = excluded.told_at";

bool account_plan_note(struct db *db, const char *account, int64_t used, int64_t maximum,
                       struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, account);
    args_int64(&args, used);
    args_int64(&args, maximum);
    return db_query(db, note_sql, &args, NULL, err) ||
           error_wrap(err, "noting what the plan of the account allows");
}
