#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/export/deliver_state.h"

enum { STALE_PAGES_MAX = 10 };

struct parcel *parcel_new(struct outbox_batch *batch)
{
    struct parcel *parcel = calloc(1, sizeof *parcel);

    if (!parcel)
        return NULL;
    parcel->batch = *batch;
    batch->job_id = NULL;
    parcel->step = parcel->batch.job_id ? PARCEL_LOOK : PARCEL_POST;
    parcel->errand =
        (struct errand){ .parcel = parcel,
                         .endpoint = parcel->batch.job_id ? ENDPOINT_JOB : ENDPOINT_IMPORT };
    parcel->body = STRBUF_INIT(IMPORT_JOB_MAX_BYTES);
    return parcel;
}

/* The body goes, and what was found out about its rows. */
void parcel_unload(struct parcel *parcel)
{
    if (parcel->loaded && parcel->step == PARCEL_ERRORS) {
        outbox_refused_release(&parcel->refused);
        rows_release(&parcel->rows);
        free(parcel->named);
        free(parcel->next);
        parcel->named = NULL;
        parcel->next = NULL;
        parcel->stale_pages = 0;
    }
    strbuf_release(&parcel->body);
    parcel->loaded = false;
}

void parcel_free(struct parcel *parcel)
{
    if (!parcel)
        return;
    parcel_unload(parcel);
    free(parcel->batch.job_id);
    free(parcel);
}

static int64_t bytes_loaded(const struct deliver *d)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < d->n_parcels; i++)
        if (d->parcels[i]->loaded)
            bytes += d->parcels[i]->batch.bytes;
    return bytes;
}

/* What the pages of errors are held against. */
static bool open_errors(struct parcel *parcel, struct error *err)
{
    if (!rows_parse(&parcel->rows, parcel->body.data, parcel->body.len, err))
        return false;
    parcel->named = calloc(parcel->rows.n + 1, sizeof *parcel->named);
    if (!parcel->named) {
        rows_release(&parcel->rows);
        return error_no_memory(err);
    }
    outbox_refused_init(&parcel->refused);
    parcel->strangers = 0;
    return true;
}

bool parcel_load(struct deliver *d, struct parcel *parcel)
{
    struct error err = ERROR_INIT;
    int64_t loaded = bytes_loaded(d);

    if (parcel->loaded)
        return true;
    if (loaded > 0 && loaded + parcel->batch.bytes > DELIVER_BODIES_MAX_BYTES)
        return false;
    if (!outbox_body(d->db, parcel->batch.batch_id, &parcel->body, &err) ||
        (parcel->step == PARCEL_ERRORS && !open_errors(parcel, &err))) {
        strbuf_release(&parcel->body);
        deliver_let_go(d, &err);
        return false;
    }
    parcel->loaded = true;
    return true;
}

struct request parcel_request(const struct deliver *d, const struct parcel *parcel)
{
    switch (parcel->step) {
    case PARCEL_POST:
        return import_job_request(parcel->body.data, parcel->body.len, &d->tail);
    case PARCEL_LOOK:
        return import_job_poll_request(parcel->batch.job_id);
    case PARCEL_ERRORS:
        return import_error_request(parcel->batch.job_id, parcel->next);
    case PARCEL_OVER:
        break;
    }
    assert(false && "a parcel that is over asks for nothing");
    abort();
}

static void go_to(struct deliver *d, struct parcel *parcel, enum parcel_step step)
{
    static const enum endpoint endpoints[] = { ENDPOINT_IMPORT, ENDPOINT_JOB,
                                               ENDPOINT_IMPORT_ERRORS, ENDPOINT_IMPORT };

    log_debug("batch_step", LOG_INT("run", d->task->run_id),
              LOG_INT("batch", parcel->batch.batch_id), LOG_INT("from", parcel->step),
              LOG_INT("to", step));
    parcel_unload(parcel);
    parcel->step = step;
    parcel->errand.endpoint = endpoints[step];
    parcel->errand.attempts = 0;
    parcel->errand.due_ms = 0;
}

/* Begins to look at a job: at first soon, for at most half of the run's budget. */
static void watch_job(struct deliver *d, struct parcel *parcel)
{
    const struct settings *settings = d->options->settings;

    go_to(d, parcel, PARCEL_LOOK);
    parcel->look_alone = false;
    parcel->interval_ms = settings->poll_interval_min_ms;
    parcel->errand.due_ms = clock_ms() + parcel->interval_ms;
    parcel->give_up_ms = clock_ms() + settings->retry_budget_seconds * 1000 / 2;
}

/* Klaviyo took it. The job is remembered before anything else happens. */
static void accepted(struct deliver *d, struct parcel *parcel, const struct verdict *verdict)
{
    struct error err = ERROR_INIT;
    char *job_id = strdup(verdict->job.id);

    if (!job_id)
        error_no_memory(&err);
    if (!job_id || !outbox_mark_sent(d->db, d->task, parcel->batch.batch_id, job_id, &err)) {
        free(job_id);
        deliver_let_go(d, &err);
        return;
    }
    parcel->batch.job_id = job_id;
    (void)atomic_fetch_add(&d->options->control->batches_sent, 1);
    log_info("batch_sent", LOG_INT("run", d->task->run_id),
             LOG_INT("batch", parcel->batch.batch_id), LOG_INT("rows", parcel->batch.rows),
             LOG_STR("job", job_id));
    watch_job(d, parcel);
}

/* The job came to nothing: the same bytes are sent again, after a while. */
static void send_again(struct deliver *d, struct parcel *parcel, const char *why)
{
    struct error err = ERROR_INIT;
    unsigned attempts = parcel->errand.attempts;

    if (!outbox_send_again(d->db, d->task, parcel->batch.batch_id, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    log_warn("job_lost", LOG_INT("run", d->task->run_id), LOG_INT("batch", parcel->batch.batch_id),
             LOG_STR("why", why));
    (void)snprintf(d->last_trouble, sizeof d->last_trouble, "an import job %s", why);
    free(parcel->batch.job_id);
    parcel->batch.job_id = NULL;
    go_to(d, parcel, PARCEL_POST);
    parcel->errand.attempts = attempts;
    errand_again(d, &parcel->errand, 0);
}

static void confirm(struct deliver *d, struct parcel *parcel, struct outbox_refused *refused)
{
    struct error err = ERROR_INIT;
    int64_t rejected = refused->n + refused->nameless;

    if (!outbox_confirm(d->db, d->task, parcel->batch.batch_id, refused, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    log_info("batch_complete", LOG_INT("run", d->task->run_id),
             LOG_INT("batch", parcel->batch.batch_id),
             LOG_INT("accepted", parcel->batch.rows - rejected), LOG_INT("rejected", rejected));
    d->accepted += parcel->batch.rows - rejected;
    (void)atomic_fetch_add(&d->options->control->accepted_rows, parcel->batch.rows - rejected);
    (void)atomic_fetch_add(&d->options->control->rejected_rows, rejected);
    deliver_progress(d);
    go_to(d, parcel, PARCEL_OVER);
}

static void confirm_all(struct deliver *d, struct parcel *parcel)
{
    CLEANUP(outbox_refused_release) struct outbox_refused nobody;

    outbox_refused_init(&nobody);
    confirm(d, parcel, &nobody);
}

static void look_later(struct deliver *d, struct parcel *parcel)
{
    int64_t longest = d->options->settings->poll_interval_max_ms;

    if (clock_ms() >= parcel->give_up_ms) {
        send_again(d, parcel, "did not end in time");
        return;
    }
    parcel->interval_ms = parcel->interval_ms * 3 / 2;
    if (parcel->interval_ms > longest)
        parcel->interval_ms = longest;
    parcel->errand.due_ms = clock_ms() + parcel->interval_ms;
}

void parcel_note_job(struct deliver *d, struct parcel *parcel, const struct import_job *job)
{
    parcel->errand.attempts = 0;
    switch (job->status) {
    case IMPORT_JOB_COMPLETE:
        parcel->failed = job->failed;
        if (job->failed == 0)
            confirm_all(d, parcel);
        else
            go_to(d, parcel, PARCEL_ERRORS);
        return;
    case IMPORT_JOB_CANCELLED:
        parcel->errand.attempts = 1;
        send_again(d, parcel, "was cancelled");
        return;
    case IMPORT_JOB_UNKNOWN:
    case IMPORT_JOB_QUEUED:
    case IMPORT_JOB_PROCESSING:
        break;
    }
    look_later(d, parcel);
}

/* By address first, by position second. */
static int64_t row_of(const struct parcel *parcel, const struct import_error *error)
{
    int64_t row = error->email ? rows_find(&parcel->rows, error->email) : -1;

    if (row < 0 && error->row >= 0 && (size_t)error->row < parcel->rows.n)
        row = error->row;
    return row;
}

static void take_error(struct parcel *parcel, const struct import_error *error)
{
    int64_t row = row_of(parcel, error);

    if (row < 0) {
        parcel->strangers++;
        return;
    }
    if (parcel->named[row])
        return;
    parcel->named[row] = true;
    outbox_refused_add(&parcel->refused, (size_t)row, parcel->rows.row[row].address,
                       parcel->rows.row[row].address_len, error->code, error->detail);
}

/*
 * As many as cannot be named count as rejected. Where the job does not say how
 * many failed, its errors do.
 */
static void add_nameless(struct parcel *parcel)
{
    int64_t failed = parcel->failed >= 0 ? parcel->failed : parcel->refused.n + parcel->strangers;
    int64_t most = (int64_t)parcel->rows.n;

    for (int64_t n = parcel->refused.n; n < failed && n < most; n++)
        outbox_refused_add_nameless(&parcel->refused, "unnamed",
                                    "Klaviyo counted a failed row and named none");
}

/* Errors that are of use: rows named, and as many strangers as rows can be nameless. */
static int64_t told(const struct parcel *parcel)
{
    int64_t most = parcel->failed >= 0 ? parcel->failed : (int64_t)parcel->rows.n;

    return parcel->refused.n + (parcel->strangers < most ? parcel->strangers : most);
}

/*
 * Is there a next page to be read? Pages may tell of the same rows again; a
 * server that goes in circles tells nothing else, and is left after a while.
 */
static bool has_next_page(struct parcel *parcel, const char *next, bool news)
{
    parcel->stale_pages = news ? 0 : parcel->stale_pages + 1;
    if (!next || parcel->stale_pages >= STALE_PAGES_MAX)
        return false;
    return news || !parcel->next || strcmp(next, parcel->next) != 0;
}

/* parcel->next is NULL after the last page. */
static bool turn_page(struct parcel *parcel, const char *next, bool news)
{
    char *copy = NULL;

    if (has_next_page(parcel, next, news)) {
        copy = strdup(next);
        if (!copy)
            return false;
    }
    free(parcel->next);
    parcel->next = copy;
    return true;
}

static void take_error_page(struct deliver *d, struct parcel *parcel,
                            const struct response *response)
{
    struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error err = ERROR_INIT;
    int64_t before = told(parcel);

    if (!import_error_page_parse(response, &page, &err)) {
        errand_again(d, &parcel->errand, 0);
        return;
    }
    for (size_t i = 0; i < page.n; i++)
        take_error(parcel, &page.errors[i]);
    bool ok = turn_page(parcel, page.next, told(parcel) > before);
    import_error_page_release(&page);

    if (!ok) {
        error_no_memory(&err);
        deliver_let_go(d, &err);
    } else if (parcel->next) {
        parcel->errand.attempts = 0;
        parcel->errand.due_ms = 0;
    } else {
        add_nameless(parcel);
        confirm(d, parcel, &parcel->refused);
    }
}

/* The list is asked for once a run, before rows are suspected. */
static void refused_as_a_whole(struct deliver *d, struct parcel *parcel,
                               const struct verdict *verdict)
{
    if (d->list_state != LIST_THERE) {
        d->list_state = LIST_WANTED;
        parcel->waits_for_list = true;
    } else if (verdict->n_rows > 0) {
        split_strip(d, parcel, verdict);
    } else {
        split_halve(d, parcel, verdict);
    }
}

static void post_answer(struct deliver *d, struct parcel *parcel, const struct verdict *verdict)
{
    switch (verdict->action) {
    case VERDICT_ACCEPTED:
        accepted(d, parcel, verdict);
        return;
    case VERDICT_ROWS_REFUSED:
        split_strip(d, parcel, verdict);
        return;
    case VERDICT_BATCH_REFUSED:
        refused_as_a_whole(d, parcel, verdict);
        return;
    case VERDICT_TOO_LARGE:
        split_halve(d, parcel, verdict);
        return;
    case VERDICT_OK:
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
    case VERDICT_GONE:
    case VERDICT_THROTTLED:
    case VERDICT_AGAIN:
    case VERDICT_UNEXPECTED:
        break;
    }
    errand_again(d, &parcel->errand, 0);
}

static void look_answer(struct deliver *d, struct parcel *parcel, const struct response *response)
{
    struct import_job job;
    struct error err = ERROR_INIT;

    if (import_job_parse(response, &job, &err))
        parcel_note_job(d, parcel, &job);
    else
        errand_again(d, &parcel->errand, 0);
}

void parcel_answer(struct deliver *d, struct parcel *parcel, const struct response *response,
                   const struct verdict *verdict)
{
    if (parcel->step == PARCEL_POST) {
        post_answer(d, parcel, verdict);
    } else if (verdict->action == VERDICT_GONE) {
        parcel->errand.attempts++;
        send_again(d, parcel, "is unknown to Klaviyo");
    } else if (parcel->step == PARCEL_LOOK) {
        look_answer(d, parcel, response);
    } else {
        take_error_page(d, parcel, response);
    }
}
