#include "worker/store/leavers.h"

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
