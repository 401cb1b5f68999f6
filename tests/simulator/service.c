#include "tests/simulator/service.h"

#include <stdio.h>
#include <string.h>

#include <openssl/sha.h>

#include "common/clock.h"
#include "tests/simulator/admission.h"
#include "tests/simulator/call.h"
#include "tests/simulator/control.h"
#include "tests/simulator/memory.h"

static void hash_body(struct call *call)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)call->request->body, call->request->body_n, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        call->sha256[2 * i] = hex[digest[i] >> 4];
        call->sha256[2 * i + 1] = hex[digest[i] & 15];
    }
}

/* The part of the work that needs no lock. */
static void prepare(struct call *call)
{
    const struct request *request = call->request;

    if (!call->routed)
        return;
    if (call->operation == OP_IMPORT)
        hash_body(call);
    world_sleep_ms(call->world, call->delay_ms);
    if (request->total_n > IMPORT_BYTES_MAX)
        return;
    /* An import is read even if it is refused: the diary says how many rows came. */
    if (call->operation == OP_IMPORT)
        import_parse(&call->import, request->body, request->body_n, &call->behaviour);
    else if (call->operation == OP_PROFILE_IMPORT)
        import_parse_one(&call->import, request->body, request->body_n, &call->behaviour);
    else
        return;
    call->parsed = true;
}

static void perform(struct call *call)
{
    static void (*const work[N_OPERATIONS])(struct call *) = {
        [OP_IMPORT] = call_import,
        [OP_JOB] = call_job,
        [OP_JOBS] = call_jobs,
        [OP_JOB_LISTS] = call_job_lists,
        [OP_JOB_LIST_IDS] = call_job_lists,
        [OP_JOB_PROFILES] = call_job_profiles,
        [OP_JOB_PROFILE_IDS] = call_job_profiles,
        [OP_IMPORT_ERRORS] = call_import_errors,
        [OP_LIST] = call_list,
        [OP_LISTS] = call_lists,
        [OP_LIST_CREATE] = call_list_create,
        [OP_LIST_ADD] = call_list_change,
        [OP_LIST_REMOVE] = call_list_change,
        [OP_LIST_MEMBERS] = call_list_members,
        [OP_LIST_MEMBER_IDS] = call_list_members,
        [OP_PROFILES] = call_profiles,
        [OP_PROFILE] = call_profile,
        [OP_PROFILE_IMPORT] = call_profile_import,
        [OP_ACCOUNTS] = call_accounts,
        [OP_ACCOUNT] = call_accounts,
        [OP_LIST_FLOWS] = call_list_flows,
        [OP_USAGE] = call_usage,
    };

    if (call->request->total_n > IMPORT_BYTES_MAX) {
        answer_error(call->answer, call->behaviour.oversize_status, "invalid", "Invalid input.",
                     "/data", "Payload exceeds %d bytes.", IMPORT_BYTES_MAX);
        return;
    }
    jobs_advance(&call->world->jobs, call->now_us);
    work[call->operation](call);
}

/* A promise given is kept in mind, so that those who break it are caught. */
static void note_promise(struct call *call)
{
    int64_t until_us = call->now_us + call->answer->retry_after_s * INT64_C(1000000);
    struct lane *lane;

    if (!call->account || call->answer->retry_after_s < 0)
        return;
    lane = &call->account->lanes[call->operation];
    if (lane->promised_until_us < call->now_us)
        lane->promised_us = call->now_us;
    if (lane->promised_until_us < until_us)
        lane->promised_until_us = until_us;
}

static void key_hint(struct diary_entry *entry, const char *key)
{
    size_t n = key ? strlen(key) : 0;

    (void)snprintf(entry->key_hint, sizeof entry->key_hint, "%s", n > 4 ? key + n - 4 : "");
}

static void fill_from_request(struct diary_entry *entry, const struct call *call)
{
    const struct request *request = call->request;

    entry->at_us = request->at_us;
    entry->path = memory_string(request->target);
    entry->user_agent = memory_string(request->user_agent);
    entry->traceparent = memory_string(request->traceparent);
    entry->bytes = request->total_n;
    (void)snprintf(entry->method, sizeof entry->method, "%s", request->method);
    (void)snprintf(entry->revision, sizeof entry->revision, "%s",
                   request->revision ? request->revision : "");
    key_hint(entry, call->key);
}

static void fill_from_outcome(struct diary_entry *entry, const struct call *call)
{
    bool reset = call->answer->reset || call->reset_after;

    entry->done_us = clock_utc_us();
    entry->endpoint = call->routed ? operation_name(call->operation) : NULL;
    entry->status = reset ? 0 : call->answer->status;
    entry->retry_after = call->answer->retry_after_s;
    entry->since_promise_us = call->since_promise_us;
    entry->early = call->since_promise_us >= 0;
    entry->fault = call->fault;
    entry->forbidden = call->routed && operation_is_forbidden(call->operation);
    (void)snprintf(entry->account, sizeof entry->account, "%s",
                   call->account ? call->account->id : "");
    (void)snprintf(entry->job, sizeof entry->job, "%s", call->job);
    (void)snprintf(entry->list, sizeof entry->list, "%s", call->list);
    (void)snprintf(entry->sha256, sizeof entry->sha256, "%s", call->sha256);
}

/* The import itself is the job's once there is one. */
static const struct import *import_seen(const struct call *call)
{
    const struct job *job = jobs_find_any(&call->world->jobs, call->job);

    if (call->operation != OP_IMPORT || !call->parsed)
        return NULL;
    return job && !call->import.rows ? &job->import : &call->import;
}

static int64_t rows_seen(const struct call *call)
{
    const struct job *job = jobs_find_any(&call->world->jobs, call->job);

    if (!call->routed || call->operation != OP_IMPORT)
        return -1;
    return job ? (int64_t)job->total : (int64_t)call->import.n;
}

static void record(struct call *call, char *body)
{
    struct diary_entry entry = { 0 };
    struct traffic *traffic = &call->world->unmatched;

    fill_from_request(&entry, call);
    fill_from_outcome(&entry, call);
    entry.profiles = rows_seen(call);
    entry.body = body;
    if (call->account)
        traffic = &call->account->lanes[call->operation].traffic;
    traffic_outcome(traffic, entry.status);
    note_promise(call);

    uint64_t seq = diary_add(&call->world->diary, &entry);
    const struct import *import = call->routed ? import_seen(call) : NULL;
    if (import && call->behaviour.keep_emails)
        received_add(&call->world->received, seq, call->job, import);
}

/* The world was reset while the request was under way: nothing it saw is left. */
static void drop_if_stale(struct call *call)
{
    if (call->epoch == call->world->epoch)
        return;
    call->account = NULL;
    call->limited = false;
    call->answer->reset = true;
}

/* A second half that is missing, and something that was never there. */
static void spoil(struct call *call)
{
    struct strbuf *body = &call->answer->body;

    if (call->reset_after)
        call->answer->reset = true;
    if (call->malformed && body->len > 0) {
        strbuf_rewind(body, body->len / 2);
        strbuf_add_str(body, "<<<");
    }
    call->answer->pause_ms = call->behaviour.slow_body_ms;
}

static void finish(struct call *call)
{
    char *kept = NULL;

    if (call->behaviour.keep_bodies)
        kept = memory_text(call->request->body, call->request->body_n);
    pthread_mutex_lock(&call->world->lock);
    call->now_us = clock_utc_us();
    drop_if_stale(call);
    if (!call->answer->status && !call->answer->reset)
        perform(call);
    admission_add_headers(call);
    record(call, kept);
    pthread_mutex_unlock(&call->world->lock);
    spoil(call);
}

static void begin(struct call *call)
{
    pthread_mutex_lock(&call->world->lock);
    call->now_us = clock_utc_us();
    call->behaviour = call->world->behaviour;
    call->epoch = call->world->epoch;
    admission_decide(call);
    pthread_mutex_unlock(&call->world->lock);
}

void service_answer(struct world *world, struct request *request, struct answer *answer)
{
    struct call call = {
        .world = world, .request = request, .answer = answer, .since_promise_us = -1
    };

    if (strncmp(request->path, "/control/", 9) == 0) {
        control_answer(world, request, answer);
        return;
    }
    begin(&call);
    prepare(&call);
    finish(&call);
    import_release(&call.import);
}
