#include "worker/store/leavers.h"

#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

static const char mark_sql[] =
    "with " FENCE ", marked as ("
    " update klaviyo.ledger l set left_run = r.run_id, left_epoch = r.epoch"
    " from fence f join klaviyo.run r using (run_id), unnest($3::text[]) as u(address)"
    " where l.export_id = f.export_id and l.address = u.address collate \"C\")"
    " select run_id from fence";

static const char forget_sql[] = "with " FENCE ", forgotten as ("
                                 " delete from klaviyo.ledger l"
                                 " using fence f, unnest($3::text[]) as u(address)"
                                 " where l.export_id = f.export_id"
                                 " and l.address = u.address collate \"C\")"
                                 " select run_id from fence";

static const char claim_sql[] = "with " FENCE " select klaviyo.claim_list(f.run_id) from fence f";

/*
 * The marks that count, by the ledger's primary key. The export is a parameter of its own, so
 * that each call continues where the one before ended, and does not look at all rows again.
 */
#define MARKED                                                     \
    " from klaviyo.ledger l where l.export_id = $3"                \
    " and l.left_run = $1 and l.left_epoch = (select r.plan_epoch" \
    " from fence f join klaviyo.run r using (run_id))"             \
    " and l.address > $4 order by l.address limit $5"

static const char release_sql[] =
    "with " FENCE ", passed as materialized (select l.address" MARKED "), released as ("
    " delete from klaviyo.ledger l using passed p"
    " where l.export_id = $3 and l.address = p.address"
    " and klaviyo.is_held_elsewhere(l.export_id, l.address) returning l.address)"
    " select (select max(address) from passed), (select count(*) from released) from fence";

static const char fetch_sql[] =
    "with " FENCE ", next as materialized (select l.address" MARKED "), begun as ("
    " update klaviyo.ledger l set removing = true, listed = false, fingerprint = 0"
    " from next n where l.export_id = $3 and l.address = n.address returning l.address)"
    " select b.address from fence f left join begun b on true order by b.address";

static const char begin_sql[] = "with " FENCE " select run_id from fence";

/* A confirmation that was kept is the run's own from here on, whoever takes it next. */
static const char removed_sql[] =
    "with " FENCE ", gone as ("
    " delete from klaviyo.ledger l using fence f, unnest($3::text[]) as u(address)"
    " where l.export_id = f.export_id and l.address = u.address collate \"C\" and l.removing"
    " returning l.address),"
    " used_up as (delete from klaviyo.removal_confirmation c using fence f"
    " where c.export_id = f.export_id and exists (select from gone) returning c.export_id),"
    " counted as (update klaviyo.run r set takes_without_progress = 0,"
    " confirm_removals = r.confirm_removals or exists (select from used_up),"
    " removed_rows = removed_rows + (select count(*) from gone),"
    " kept_rows = kept_rows - (select count(*) from gone)"
    " from fence f where r.run_id = f.run_id)"
    " select run_id from fence";

void leavers_init(struct leavers *leavers)
{
    array_init(&leavers->addresses);
    leavers->n = 0;
}

void leavers_release(struct leavers *leavers)
{
    strbuf_release(&leavers->addresses);
}

void leavers_clear(struct leavers *leavers)
{
    array_restart(&leavers->addresses);
    leavers->n = 0;
}

void leavers_add(struct leavers *leavers, const char *address, size_t len)
{
    array_text(&leavers->addresses, address, len);
    leavers->n++;
}

/* A fenced statement with the addresses as its third parameter. */
static bool write_addresses(struct db *db, const struct run_task *task, const char *sql,
                            struct leavers *leavers, struct error *err)
{
    struct args args = ARGS_INIT;

    if (leavers->n == 0)
        return true;
    args_fence(&args, task);
    if (!args_close_array(&args, &leavers->addresses, err) ||
        !FAILPOINT_AROUND("leavers", db_fenced(db, sql, &args, NULL, err)))
        return false;
    leavers_clear(leavers);
    return true;
}

bool leavers_mark(struct db *db, const struct run_task *task, struct leavers *leavers,
                  struct error *err)
{
    return write_addresses(db, task, mark_sql, leavers, err);
}

bool leavers_forget(struct db *db, const struct run_task *task, struct leavers *leavers,
                    struct error *err)
{
    return write_addresses(db, task, forget_sql, leavers, err);
}

/* ---- taking them off the list ---- */

void leaver_chunk_release(struct leaver_chunk *chunk)
{
    for (size_t i = 0; i < chunk->n; i++)
        free(chunk->items[i].address);
    free(chunk->items);
    *chunk = (struct leaver_chunk){ .n = 0 };
}

bool leavers_claim_list(struct db *db, const struct run_task *task, enum list_claim *claim,
                        struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    if (!FAILPOINT_AROUND("claim_list", db_fenced(db, claim_sql, &args, &rows, err)))
        return false;
    const char *word = result_text(rows, 0, 0);
    *claim = LIST_CLAIM_BUSY;
    if (strcmp(word, "alone") == 0)
        *claim = LIST_CLAIM_ALONE;
    else if (strcmp(word, "shared") == 0)
        *claim = LIST_CLAIM_SHARED;
    return true;
}

static void args_window(struct args *args, const struct run_task *task,
                        const struct leavers_window *window)
{
    args_fence(args, task);
    args_int64(args, task->export_id);
    args_text(args, window->after ? window->after : "");
    args_int64(args, window->max);
}

bool leavers_release_held(struct db *db, const struct run_task *task,
                          const struct leavers_window *window, struct leavers_released *released,
                          struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_window(&args, task, window);
    if (!FAILPOINT_AROUND("release_held", db_fenced(db, release_sql, &args, &rows, err)) ||
        !result_copy_text(rows, 0, 0, &released->last, err))
        return false;
    released->n = result_int64(rows, 0, 1);
    return true;
}

/* Nobody is one row with no address. */
static bool read_chunk(const PGresult *rows, struct leaver_chunk *chunk, struct error *err)
{
    size_t n = result_is_null(rows, 0, 0) ? 0 : (size_t)result_rows(rows);

    chunk->items = calloc(n + 1, sizeof *chunk->items);
    if (!chunk->items)
        return error_no_memory(err);
    for (; chunk->n < n; chunk->n++)
        if (!result_copy_text(rows, (int)chunk->n, 0, &chunk->items[chunk->n].address, err))
            return false;
    return true;
}

bool leavers_fetch(struct db *db, const struct run_task *task, const struct leavers_window *window,
                   struct leaver_chunk *chunk, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(leaver_chunk_release) struct leaver_chunk read = { .n = 0 };
    struct args args = ARGS_INIT;

    args_window(&args, task, window);
    if (!FAILPOINT_AROUND("fetch_leavers", db_fenced(db, fetch_sql, &args, &rows, err)) ||
        !read_chunk(rows, &read, err))
        return false;
    *chunk = read;
    read = (struct leaver_chunk){ .n = 0 };
    return true;
}

bool leavers_begin_removal(struct db *db, const struct run_task *task, struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    return db_fenced(db, begin_sql, &args, NULL, err);
}

bool leavers_removed(struct db *db, const struct run_task *task, const struct leaver_chunk *chunk,
                     struct error *err)
{
    CLEANUP(leavers_release) struct leavers gone;

    leavers_init(&gone);
    for (size_t i = 0; i < chunk->n; i++)
        if (!chunk->items[i].kept)
            leavers_add(&gone, chunk->items[i].address, strlen(chunk->items[i].address));
    return FAILPOINT_AROUND("leavers_removed", write_addresses(db, task, removed_sql, &gone, err));
}
