#include "worker/export/questions.h"

#include <assert.h>

#include "worker/klaviyo/list_flows.h"
#include "worker/klaviyo/usage.h"

/* Chosen: a half answer may be whole the next time; a fourth one will not. */
enum { MALFORMED_MAX = 3 };

void questions_init(struct questions *questions)
{
    *questions = (struct questions){
        .pending = { [QUESTION_PLAN] = { .kind = PENDING_QUESTION,
                                         .which = QUESTION_PLAN,
                                         .endpoint = ENDPOINT_USAGE },
                     [QUESTION_FLOWS] = { .kind = PENDING_QUESTION,
                                          .which = QUESTION_FLOWS,
                                          .endpoint = ENDPOINT_FLOWS } },
    };
}

void questions_want(struct questions *questions, const struct guards_questions *ask)
{
    questions->wanted[QUESTION_PLAN] |= ask->plan;
    questions->needed[QUESTION_PLAN] |= ask->plan_needed;
    questions->wanted[QUESTION_FLOWS] |= ask->flows;
    questions->needed[QUESTION_FLOWS] |= ask->flows;
}

void questions_tell(const struct questions *questions, struct guards_facts *facts)
{
    facts->plan = questions->known[QUESTION_PLAN];
    facts->plan_used = questions->plan_used;
    facts->plan_maximum = questions->plan_maximum;
    facts->flows = questions->known[QUESTION_FLOWS];
    facts->live_flows = questions->live_flows;
}

static bool is_open(const struct questions *questions, int i)
{
    return questions->wanted[i] && questions->known[i] == GUARDS_UNASKED;
}

struct pending_request *questions_next(struct questions *questions,
                                       const struct request_schedule *schedule, const char *list_id,
                                       int64_t now_ms, struct request *request)
{
    for (int i = 0; i < QUESTIONS_N; i++) {
        if (!is_open(questions, i) ||
            !request_schedule_may_start(schedule, &questions->pending[i], now_ms))
            continue;
        *request = i == QUESTION_PLAN ? usage_request() : list_flows_request(list_id);
        return &questions->pending[i];
    }
    return NULL;
}

int64_t questions_due_ms(const struct questions *questions, const struct request_schedule *schedule)
{
    int64_t due_ms = REQUEST_SCHEDULE_NEVER;

    for (int i = 0; i < QUESTIONS_N; i++) {
        int64_t at_ms = is_open(questions, i)
                            ? request_schedule_due_ms(schedule, &questions->pending[i])
                            : REQUEST_SCHEDULE_NEVER;
        if (at_ms < due_ms)
            due_ms = at_ms;
    }
    return due_ms;
}

unsigned questions_endpoints(const struct questions *questions)
{
    unsigned set = 0;

    for (int i = 0; i < QUESTIONS_N; i++)
        if (is_open(questions, i) && questions->needed[i])
            set |= ENDPOINT_BIT(questions->pending[i].endpoint);
    return set;
}

bool questions_in_flight(const struct questions *questions)
{
    for (int i = 0; i < QUESTIONS_N; i++)
        if (questions->pending[i].in_flight)
            return true;
    return false;
}

/* ---- answers ---- */

/* No row that counts profiles, or none with a limit: there is no limit. */
static bool read_plan(struct questions *questions, const struct response *response)
{
    struct error malformed = ERROR_INIT;
    struct usage usage;

    if (!usage_parse(response, &usage, &malformed))
        return false;
    const struct usage_row *row = usage_tightest(&usage);
    questions->plan_used = row ? row->used : 0;
    questions->plan_maximum = row ? row->maximum : -1;
    return true;
}

static bool read_flows(struct questions *questions, const struct response *response)
{
    struct error malformed = ERROR_INIT;

    return list_flows_parse(response, &questions->live_flows, &malformed);
}

static bool end_as(struct questions *questions, enum question question, enum guards_known known)
{
    questions->known[question] = known;
    return true;
}

static enum question question_of(const struct pending_request *pending)
{
    assert(pending->kind == PENDING_QUESTION);
    return (enum question)pending->which;
}

/* Unless it is needed. */
static bool leave(struct questions *questions, enum question question)
{
    return !questions->needed[question] && end_as(questions, question, GUARDS_UNKNOWN);
}

bool questions_leave(struct questions *questions, const struct pending_request *pending)
{
    return leave(questions, question_of(pending));
}

bool questions_response(struct questions *questions, const struct delivery_reply *reply)
{
    enum question question = question_of(reply->pending);
    bool read;

    switch (reply->verdict->action) {
    case VERDICT_OK:
        read = question == QUESTION_PLAN ? read_plan(questions, reply->response)
                                         : read_flows(questions, reply->response);
        if (!read && questions->pending[question].attempts >= MALFORMED_MAX)
            break;
        return read ? end_as(questions, question, GUARDS_KNOWN) : leave(questions, question);
    case VERDICT_THROTTLED:
    case VERDICT_AGAIN:
    case VERDICT_KEY_REFUSED:
        return leave(questions, question);
    case VERDICT_SCOPE_MISSING:
    case VERDICT_GONE:
    case VERDICT_UNEXPECTED:
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
        break;
    }
    return end_as(questions, question, GUARDS_UNKNOWN);
}
