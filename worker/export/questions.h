#ifndef WORKER_EXPORT_QUESTIONS_H
#define WORKER_EXPORT_QUESTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/export/delivery_reply.h"
#include "worker/export/guards.h"
#include "worker/export/request_schedule.h"
#include "worker/klaviyo/request.h"

/*
 * What a run asks Klaviyo for its guards (pure): each question once, as soon as its
 * answer may decide.
 *
 * A question that the first import waits for is asked until there is an answer, like any
 * other request. One for a warning is asked once; without an answer it counts as not
 * known. Not known is, in both cases, also what the key may not read, what Klaviyo does
 * not serve (404 and the like), and what never has a readable answer.
 */
enum question { QUESTION_PLAN, QUESTION_FLOWS, QUESTIONS_N };

struct questions {
    struct pending_request pending[QUESTIONS_N];
    bool wanted[QUESTIONS_N];
    bool needed[QUESTIONS_N];
    enum guards_known known[QUESTIONS_N];
    int64_t plan_used, plan_maximum; /* profiles; maximum -1: no limit */
    int64_t live_flows;
};

/* Nothing is asked, and nothing is known. */
void questions_init(struct questions *questions);

/* Questions stay asked; one that was for a warning may become needed. */
void questions_want(struct questions *questions, const struct guards_questions *ask);

/* Writes what is known of plan and flows; nothing else of the facts. */
void questions_tell(const struct questions *questions, struct guards_facts *facts);

/* The next one to be sent now, and its request; NULL: none is. list_id is lent. */
struct pending_request *questions_next(struct questions *questions,
                                       const struct request_schedule *schedule, const char *list_id,
                                       int64_t now_ms, struct request *request);

/* When one may be sent as far as is known; REQUEST_SCHEDULE_NEVER: none is waited for. */
int64_t questions_due_ms(const struct questions *questions,
                         const struct request_schedule *schedule);

/* The endpoints of those that are waited for: a set. */
unsigned questions_endpoints(const struct questions *questions);

/* A response is still to come. */
bool questions_in_flight(const struct questions *questions);

/*
 * Takes a response, unless it says to come back (THROTTLED, AGAIN, or malformed) or
 * concerns the key as a whole, and the question is needed: then false, and it is to
 * be asked again.
 */
bool questions_response(struct questions *questions, const struct delivery_reply *reply);

/* The question that is pending could not be sent for now. False: it is needed, and stays. */
bool questions_leave(struct questions *questions, const struct pending_request *pending);

#endif
