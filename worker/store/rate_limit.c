#include "worker/store/rate_limit.h"

#include "worker/store/statement.h"

static const char take_sql[] = "select place_id, wait_ms from"
                               " klaviyo.take_place($1, $2, $3::integer, $4::integer, $5::bigint)";

static const char return_sql[] = "select klaviyo.return_place($1)";

static const char block_sql[] = "select klaviyo.block_account($1, $2, $3::bigint)";

bool rate_limit_acquire(struct db *db, const struct rate_limit_claim *claim,
                        struct rate_limit_permit *permit, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, claim->account);
    args_text(&args, claim->endpoint);
    args_int64(&args, claim->burst);
    args_int64(&args, claim->steady);
    args_int64(&args, claim->timeout_ms);
    if (!db_query(db, take_sql, &args, &rows, err))
        return false;
    permit->permit_id = result_int64(rows, 0, 0);
    permit->wait_ms = result_int64(rows, 0, 1);
    return true;
}

bool rate_limit_release(struct db *db, int64_t permit_id, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, permit_id);
    return db_query(db, return_sql, &args, NULL, err);
}

bool rate_limit_move(struct db *db, int64_t permit_id, const char *account, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, permit_id);
    args_text(&args, account);
    return db_query(db, "select klaviyo.move_place($1, $2)", &args, NULL, err);
}

bool rate_limit_block(struct db *db, const char *account, const char *endpoint, int64_t wait_ms,
                      struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, account);
    args_text(&args, endpoint);
    args_int64(&args, wait_ms);
    return db_query(db, block_sql, &args, NULL, err);
}

bool rate_limit_slow(struct db *db, const char *account, const char *endpoint, int64_t *pace,
                     struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, account);
    args_text(&args, endpoint);
    if (!db_query(db, "select klaviyo.slow_account($1, $2)", &args, &rows, err))
        return false;
    *pace = result_int64(rows, 0, 0);
    return true;
}

bool rate_limit_share(struct db *db, const char *account, int64_t *percent, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, account);
    if (!db_query(db, "select klaviyo.share_of($1)", &args, &rows, err))
        return false;
    *percent = result_int64(rows, 0, 0);
    return true;
}
