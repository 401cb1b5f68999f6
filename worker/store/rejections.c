#include "worker/store/rejections.h"

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

static const char reject_local_sql[] =
    "with " FENCE ", rejected as ("
    " insert into klaviyo.rejection (run_id, epoch, stage, email, profile_id, code)"
    " select f.run_id, f.epoch, 'local', u.email, u.profile_id, u.code"
    " from fence f, unnest($3::text[], $4::text[], $5::text[]) as u(email, profile_id, code))"
    " select run_id from fence";

static const char keep_words_sql[] =
    "with " FENCE " insert into klaviyo.rejection (run_id, epoch, stage, code, detail)"
    " select f.run_id, f.epoch, 'request', $3, $4 from fence f returning run_id";

void local_rejections_init(struct local_rejections *invalid)
{
    array_init(&invalid->emails);
    array_init(&invalid->profile_ids);
    array_init(&invalid->codes);
    invalid->n = 0;
}

void local_rejections_release(struct local_rejections *invalid)
{
    strbuf_release(&invalid->emails);
    strbuf_release(&invalid->profile_ids);
    strbuf_release(&invalid->codes);
}

void local_rejections_add(struct local_rejections *invalid, struct bytes email,
                          struct bytes profile_id, const char *code)
{
    array_text(&invalid->emails, email.at, email.n);
    array_text(&invalid->profile_ids, profile_id.at, profile_id.n);
    array_str(&invalid->codes, code);
    invalid->n++;
}

bool local_rejections_write(struct db *db, const struct run_task *task,
                            struct local_rejections *invalid, struct error *err)
{
    struct args args = ARGS_INIT;

    if (invalid->n == 0)
        return true;
    args_fence(&args, task);
    if (!args_close_array(&args, &invalid->emails, err) ||
        !args_close_array(&args, &invalid->profile_ids, err) ||
        !args_close_array(&args, &invalid->codes, err) ||
        !FAILPOINT_AROUND("reject_local", db_fenced(db, reject_local_sql, &args, NULL, err)))
        return false;
    array_restart(&invalid->emails);
    array_restart(&invalid->profile_ids);
    array_restart(&invalid->codes);
    invalid->n = 0;
    return true;
}

void refused_rows_init(struct refused_rows *refused)
{
    array_init(&refused->addresses);
    array_init(&refused->codes);
    array_init(&refused->details);
    array_init(&refused->positions);
    array_init(&refused->unidentified_codes);
    array_init(&refused->unidentified_details);
    refused->n = 0;
    refused->unidentified = 0;
}

void refused_rows_release(struct refused_rows *refused)
{
    strbuf_release(&refused->addresses);
    strbuf_release(&refused->codes);
    strbuf_release(&refused->details);
    strbuf_release(&refused->positions);
    strbuf_release(&refused->unidentified_codes);
    strbuf_release(&refused->unidentified_details);
}

void refused_rows_add(struct refused_rows *refused, size_t position, struct bytes address,
                      const char *code, const char *detail)
{
    array_int64(&refused->positions, (int64_t)position + 1); /* PostgreSQL counts from 1 */
    array_text(&refused->addresses, address.at, address.n);
    array_str(&refused->codes, code);
    array_str(&refused->details, detail);
    refused->n++;
}

void refused_rows_add_unidentified(struct refused_rows *refused, const char *code,
                                   const char *detail)
{
    array_str(&refused->unidentified_codes, code);
    array_str(&refused->unidentified_details, detail);
    refused->unidentified++;
}

bool rejections_keep_words(struct db *db, const struct run_task *task, const char *code,
                           const char *detail, struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_text(&args, code);
    args_text(&args, detail);
    return db_fenced(db, keep_words_sql, &args, NULL, err);
}
