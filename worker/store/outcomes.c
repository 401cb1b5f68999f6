#include "worker/store/outcomes.h"

#include <assert.h>
#include <stdlib.h>

#include "common/failpoint.h"
#include "common/strbuf.h"
#include "worker/store/statement.h"

enum {
    ROWS_A_CALL = 1000,
    IDS_MAX_BYTES = 256 * 1024,
};

/*
 * A claim that ends later than one that begins now was made before the clock went back. Of a row
 * that is too large the number of its refreshes stays; the rest is some 2 KiB.
 */
static const char claim_sql[] =
    "with free as (select o.outcome_id, o.ended_at, octet_length(o.data::text) as bytes"
    "  from klaviyo.outcome o"
    "  where o.claimed_until is null or o.claimed_until < clock_timestamp()"
    "   or o.claimed_until > clock_timestamp() + $3::bigint * interval '1 ms'"
    "  order by o.ended_at, o.outcome_id limit $1 for update skip locked),"
    " fitting as (select outcome_id from (select outcome_id,"
    "  sum(bytes) over (order by ended_at, outcome_id) - bytes as before from free) f where f.before < $2),"
    " claimed as (update klaviyo.outcome o"
    "  set claimed_until = clock_timestamp() + $3::bigint * interval '1 ms'"
    "  from fitting f where f.outcome_id = o.outcome_id returning o.*)"
    " select outcome_id, run_id, epoch, data ->> 'state' like 'succeeded%', too_large, export_name,"
    " segment_id, case when too_large then (data::jsonb || jsonb_build_object('refresh_ids',"
    "  '[]'::jsonb, 'refresh_ids_omitted', json_array_length(data -> 'refresh_ids')"
    "  + coalesce((data ->> 'refresh_ids_omitted')::bigint, 0)))::text else data::text end,"
    " traceparent, klaviyo.utc(ended_at) from claimed order by claimed.ended_at, outcome_id";

/* What is given back is free at once; the time says that somebody tried: see unwanted_sql. */
static const char settle_sql[] =
    "with gone as (delete from klaviyo.outcome where outcome_id = any ($1::bigint[]))"
    " update klaviyo.outcome o set too_large = o.too_large or o.outcome_id = any ($3::bigint[]),"
    " claimed_until = clock_timestamp() + case when o.outcome_id = any ($4::bigint[])"
    " then $5::bigint else 0 end * interval '1 ms'"
    " where o.outcome_id = any ($2::bigint[] || $3::bigint[] || $4::bigint[])";

static const char expire_sql[] =
    "delete from klaviyo.outcome where outcome_id in (select outcome_id from klaviyo.outcome"
    " where ended_at < now() - $1::bigint * interval '1 day' limit $2 for update skip locked)";

/* A worker whose broker is away claims the oldest ones again and again: the rest is its, too. */
static const char unwanted_sql[] =
    "delete from klaviyo.outcome where outcome_id in (select outcome_id from klaviyo.outcome"
    " where ended_at < now() - interval '10 minutes' and not exists (select from klaviyo.outcome"
    "  where claimed_until > now() - interval '10 minutes')"
    " limit $1 for update skip locked)";

static void outcome_release(struct outcome *outcome)
{
    free(outcome->export_name);
    free(outcome->segment_id);
    free(outcome->data);
    free(outcome->traceparent);
    free(outcome->ended_at);
}

void outcomes_release(struct outcomes *outcomes)
{
    for (size_t i = 0; i < outcomes->n; i++)
        outcome_release(&outcomes->items[i]);
    free(outcomes->items);
    *outcomes = (struct outcomes){ .n = 0 };
}

static bool read_outcome(const PGresult *rows, int row, struct outcome *out, struct error *err)
{
    out->outcome_id = result_int64(rows, row, 0);
    out->run_id = result_int64(rows, row, 1);
    out->epoch = result_int64(rows, row, 2);
    out->succeeded = result_bool(rows, row, 3);
    out->reduced = result_bool(rows, row, 4);
    return result_copy_text(rows, row, 5, &out->export_name, err) &&
           result_copy_text(rows, row, 6, &out->segment_id, err) &&
           result_copy_text(rows, row, 7, &out->data, err) &&
           result_copy_text(rows, row, 8, &out->traceparent, err) &&
           result_copy_text(rows, row, 9, &out->ended_at, err);
}

static bool read_all(const PGresult *rows, struct outcomes *out, struct error *err)
{
    size_t n = (size_t)result_rows(rows);

    out->items = calloc(n + 1, sizeof *out->items);
    if (!out->items)
        return error_no_memory(err);
    for (; out->n < n; out->n++)
        if (!read_outcome(rows, (int)out->n, &out->items[out->n], err)) {
            outcome_release(&out->items[out->n]);
            return false;
        }
    return true;
}

bool outcomes_claim(struct db *db, const struct outcome_claim *claim, struct outcomes *claimed,
                    struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(outcomes_release) struct outcomes read = { .n = 0 };
    struct args args = ARGS_INIT;

    args_int64(&args, claim->max_rows);
    args_int64(&args, claim->max_bytes);
    args_int64(&args, claim->claim_ms);
    if (!FAILPOINT_AROUND("claim_outcomes", db_query(db, claim_sql, &args, &rows, err)) ||
        !read_all(rows, &read, err))
        return error_wrap(err, "looking for outcomes to send");
    *claimed = read;
    read = (struct outcomes){ .n = 0 };
    return true;
}

/* The ids of each fate, as array literals. */
struct fate_arrays {
    struct strbuf of[OUTCOME_FATES];
};

static void fate_arrays_release(struct fate_arrays *arrays)
{
    for (size_t i = 0; i < OUTCOME_FATES; i++)
        strbuf_release(&arrays->of[i]);
}

static bool args_fates(struct args *args, struct fate_arrays *arrays, struct error *err)
{
    for (size_t i = 0; i < OUTCOME_FATES; i++) {
        array_close(&arrays->of[i]);
        if (!args_array(args, &arrays->of[i], err))
            return false;
    }
    return true;
}

bool outcomes_settle(struct db *db, const struct outcome_fates *settled, int64_t claim_ms,
                     struct error *err)
{
    CLEANUP(fate_arrays_release) struct fate_arrays arrays;
    struct args args = ARGS_INIT;

    for (size_t i = 0; i < OUTCOME_FATES; i++) {
        arrays.of[i] = STRBUF_INIT(IDS_MAX_BYTES);
        array_open(&arrays.of[i]);
    }
    for (size_t i = 0; i < settled->n; i++) {
        assert(settled->fates[i] < OUTCOME_FATES);
        array_int64(&arrays.of[settled->fates[i]], settled->ids[i]);
    }
    if (!args_fates(&args, &arrays, err))
        return false;
    args_int64(&args, claim_ms);
    if (!FAILPOINT_AROUND("settle_outcomes", db_query(db, settle_sql, &args, NULL, err)))
        return error_wrap(err, "recording what became of outcomes");
    return true;
}

/* Its last parameter is how many. */
static bool delete_some(struct db *db, const char *sql, struct args *args, int64_t *deleted,
                        struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    args_int64(args, ROWS_A_CALL);
    if (!db_query(db, sql, args, &rows, err))
        return error_wrap(err, "deleting outcomes");
    *deleted = result_rows_affected(rows);
    return true;
}

bool outcomes_expire(struct db *db, int64_t days, int64_t *deleted, bool *more, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, days);
    if (!delete_some(db, expire_sql, &args, deleted, err))
        return false;
    *more = *deleted == ROWS_A_CALL;
    return true;
}

bool outcomes_drop_unwanted(struct db *db, int64_t *deleted, bool *more, struct error *err)
{
    struct args args = ARGS_INIT;

    if (!delete_some(db, unwanted_sql, &args, deleted, err))
        return false;
    *more = *deleted == ROWS_A_CALL;
    return true;
}
