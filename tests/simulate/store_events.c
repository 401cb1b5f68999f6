#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/broker.h"
#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/trace.h"

/* store/events.h: requests, by schemas/sql/0004_requests.sql and 0012_intake.sql. */

static struct request_row *find(int32_t partition, int64_t offset, int64_t timestamp_ms)
{
    for (int64_t i = 1; i <= database.n_requests; i++) {
        struct request_row *q = &database.requests[i];

        if (q->partition == partition && q->offset == offset && q->timestamp_ms == timestamp_ms)
            return q;
    }
    return NULL;
}

static int64_t number_of(const struct request_row *request)
{
    return request - database.requests;
}

static int number(const char *text, int otherwise)
{
    return text && text[1] ? person_number(text + 1) : otherwise;
}

static struct request_row *insert(const struct event_row *in)
{
    must(database.n_requests < REQUESTS_MAX, "the simulation has no room for another request");
    struct request_row *request = &database.requests[++database.n_requests];

    *request =
        (struct request_row){ .partition = in->partition,
                              .offset = in->offset,
                              .timestamp_ms = in->timestamp_ms,
                              .event = number(in->event_id, 0),
                              .segment = in->reason ? -1 : number(in->segment_id, -1),
                              .state = in->reason ? EVENT_ROW_DEAD_LETTER_DUE : EVENT_ROW_OPEN };
    return request;
}

/* ---- the same event in another record ---- */

static struct request_row *last_of_event(int event, int segment)
{
    for (int64_t i = database.n_requests; event > 0 && i >= 1; i--)
        if (database.requests[i].event == event && database.requests[i].segment == segment)
            return &database.requests[i];
    return NULL;
}

static bool has_cancelled(const struct request_row *request)
{
    for (int i = 0; i < request->n_runs; i++)
        if (database.runs[request->runs[i]].state == RUN_CANCELLED)
            return true;
    return false;
}

/* Whether it is nothing new; *out is its row, NULL where it needs none. */
static bool is_repeated(const struct event_row *in, struct request_row **out)
{
    const struct request_row *first =
        last_of_event(number(in->event_id, 0), number(in->segment_id, -1));

    *out = NULL;
    if (!first || first->state == EVENT_ROW_DEAD_LETTER_DUE ||
        first->state == EVENT_ROW_DEAD_LETTERED)
        return false;
    if (first->state != EVENT_ROW_OPEN)
        return !has_cancelled(first);
    *out = insert(in);
    (*out)->n_runs = first->n_runs;
    memcpy((*out)->runs, first->runs, sizeof first->runs);
    return true;
}

/* ---- new work ---- */

static int64_t queued_run(int export)
{
    for (int64_t i = 1; i <= database.n_runs; i++)
        if (database.runs[i].export == export && database.runs[i].state == RUN_QUEUED)
            return i;
    must(database.n_runs < RUNS_MAX, "the simulation has no room for another run");
    database.runs[++database.n_runs] = (struct run_row){ .export = export, .state = RUN_QUEUED };
    return database.n_runs;
}

static int64_t failed_run(int export)
{
    struct run_row *run = &database.runs[queued_run(export)];

    run->state = RUN_FAILED;
    run->reason = REASON_CONNECTION_NEEDS_ATTENTION;
    database_write_outcomes(run);
    return database_run_number(run);
}

static void attach(struct request_row *request, int export, bool full)
{
    const struct export_row *x = &database.exports[export];
    int64_t run;

    if (database.accounts[x->account].needs_attention) {
        run = failed_run(export);
    } else {
        run = queued_run(export);
        database.runs[run].full = database.runs[run].full || full;
    }
    request->runs[request->n_runs++] = run;
}

static bool concerns(int export, int segment)
{
    return segment >= 0 && (database.exports[export].segments >> segment & 1);
}

/* NULL: nothing is to be done. */
static struct request_row *new_work(const struct event_row *in)
{
    int segment = number(in->segment_id, -1);
    struct request_row *request = NULL;

    for (int x = 0; x < EXPORTS; x++) {
        if (!concerns(x, segment) || database.exports[x].paused)
            continue;
        if (!request)
            request = insert(in);
        attach(request, x, in->full);
    }
    return request;
}

/* ---- taking in ---- */

static bool is_locked(int segment)
{
    for (int x = 0; x < EXPORTS; x++)
        if (concerns(x, segment) && database.exports[x].locked_until_ms > fiber_now_ms())
            return true;
    return false;
}

static bool is_blocked(const struct event_row *in)
{
    return !in->reason && is_locked(number(in->segment_id, -1));
}

static void answer(const struct request_row *request, enum event_row_state without,
                   struct event_row_result *out)
{
    out->request_id = request ? number_of(request) : 0;
    out->state = request ? request->state : without;
}

static void accept_one(const struct event_row *in, struct event_row_result *out)
{
    struct request_row *request = find(in->partition, in->offset, in->timestamp_ms);

    if (!request && in->reason)
        request = insert(in);
    if (request || is_repeated(in, &request)) {
        answer(request, EVENT_ROW_DONE, out);
    } else {
        request = new_work(in);
        if (request)
            database_settle_request(request);
        answer(request, EVENT_ROW_IGNORED, out);
    }
    if (out->request_id == 0)
        broker_note_end(in->partition, in->offset, in->timestamp_ms);
}

enum events_accepted events_accept(struct db *db, const struct event_row *in, size_t n,
                                   bool one_by_one, struct event_row_result *out, struct error *err)
{
    if (!statement_arrives(db, err))
        return EVENTS_FAILED;
    for (size_t i = 0; !one_by_one && i < n; i++)
        if (is_blocked(&in[i])) {
            (void)error_set(err, ERROR_RETRY, "somebody holds a lock");
            return statement_is_answered(db, err) ? EVENTS_BLOCKED : EVENTS_FAILED;
        }
    for (size_t i = 0; i < n; i++)
        if (is_blocked(&in[i]))
            out[i] = (struct event_row_result){ .state = EVENT_ROW_BLOCKED };
        else
            accept_one(&in[i], &out[i]);
    database_notify();
    return statement_is_answered(db, err) ? EVENTS_ACCEPTED : EVENTS_FAILED;
}

/* ---- ends ---- */

static const struct request_row *own_row(const struct event_key *key)
{
    const struct request_row *q = &database.requests[key->request_id];

    return q->partition == key->partition && q->offset == key->offset &&
                   q->timestamp_ms == key->timestamp_ms && key->request_id <= database.n_requests
               ? q
               : NULL;
}

static void describe_death(const struct request_row *q, struct event_row_end *end)
{
    const struct run_row *run = &database.runs[q->failed_run];

    end->run_id = q->failed_run;
    end->reason = strdup(q->failed_run ? run_reason_name(run->reason) : "event_invalid");
    end->exports = strdup(q->exports);
}

bool events_ended(struct db *db, const struct event_keys *keys, struct event_row_ends *ends,
                  struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct event_row_ends found = { .items = calloc(keys->n + 1, sizeof *found.items) };

    assert(found.items);
    for (size_t i = 0; i < keys->n; i++) {
        const struct request_row *q = own_row(&keys->items[i]);

        if (q && q->state == EVENT_ROW_OPEN)
            continue;
        struct event_row_end *end = &found.items[found.n++];
        *end = (struct event_row_end){ .nth = i, .state = q ? q->state : EVENT_ROW_MISSING };
        if (q && q->state == EVENT_ROW_DEAD_LETTER_DUE)
            describe_death(q, end);
    }
    if (!statement_is_answered(db, err)) {
        event_row_ends_release(&found);
        return false;
    }
    *ends = found;
    return true;
}

void event_row_ends_release(struct event_row_ends *ends)
{
    for (size_t i = 0; i < ends->n; i++) {
        free(ends->items[i].reason);
        free(ends->items[i].detail);
        free(ends->items[i].exports);
        free(ends->items[i].traceparent);
    }
    free(ends->items);
    *ends = (struct event_row_ends){ .n = 0 };
}

/* Whoever has locked an export has locked the requests of its segments, too. */
bool events_mark_dead_lettered(struct db *db, const struct event_keys *keys, bool at_once UNUSED,
                               bool *held, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    for (size_t i = 0; i < keys->n; i++) {
        struct request_row *q =
            find(keys->items[i].partition, keys->items[i].offset, keys->items[i].timestamp_ms);
        bool is_due = q && q->state == EVENT_ROW_DEAD_LETTER_DUE;

        held[i] = is_due && is_locked(q->segment);
        if (!is_due || held[i])
            continue;
        must(broker_has_letter(q->partition, q->offset),
             "an event is marked as dead-lettered, and there is no letter");
        q->state = EVENT_ROW_DEAD_LETTERED;
    }
    return statement_is_answered(db, err);
}

bool events_lock_holder(struct db *db, struct lock_holder *holder, struct error *err)
{
    if (!statement_arrives(db, err) || !statement_is_answered(db, err))
        return false;
    *holder = (struct lock_holder){ .pid = 17 };
    return true;
}

/* What stands for the record: its request, if it has one. */
bool database_has_ended(int32_t partition, int64_t offset, int64_t timestamp_ms)
{
    const struct request_row *q = find(partition, offset, timestamp_ms);

    return q && (q->state == EVENT_ROW_DONE || q->state == EVENT_ROW_DEAD_LETTERED);
}
