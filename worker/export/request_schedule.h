#ifndef WORKER_EXPORT_REQUEST_SCHEDULE_H
#define WORKER_EXPORT_REQUEST_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/klaviyo/endpoint.h"

/*
 * When a request may go (pure; times are milliseconds of clock_ms(), and the
 * present one is always a parameter).
 *
 * A pending request is made again and again until its response is of use. It
 * may go once it is due itself, its endpoint is open, and the key is not being
 * rested after a refusal.
 */
struct batch_import;

/* Whose response it is. */
enum pending_kind {
    PENDING_IMPORT,      /* of a batch: its import, its job, the job's errors */
    PENDING_LIST,        /* the Klaviyo list */
    PENDING_JOB_LISTING, /* of the newest jobs */
    PENDING_QUESTION,    /* of the guards */
    PENDING_LOOKUP,      /* of leavers */
    PENDING_REMOVAL,     /* of leavers from the list */
};

struct pending_request {
    enum pending_kind kind;
    struct batch_import *import; /* IMPORT; else NULL */
    unsigned which;              /* QUESTION: enum question. LOOKUP: of the removal's look-ups */
    enum endpoint endpoint;
    bool in_flight;
    int64_t permit_id;  /* while in flight: the permit of the account's rate limit */
    int64_t started_ms; /* when it was last made */
    bool limited;       /* its last response was that a limit is reached */
    int64_t due_ms;
    unsigned attempts; /* in vain, in a row */
};

enum { REQUEST_SCHEDULE_WHY_BYTES = 256 };

struct request_schedule {
    uint32_t (*random)(void); /* all values equally likely */
    int64_t not_before_ms[ENDPOINT_COUNT];
    int64_t key_not_before_ms;              /* a refused key rests until then */
    int64_t key_doubted_ms;                 /* when it was refused; 0: it was accepted since */
    int64_t key_refused_ms[ENDPOINT_COUNT]; /* the same, of that endpoint alone */
    int64_t imports_until_ms; /* no import is begun from then on: the lease is too short */
    bool draining;            /* nothing is begun any more */
    size_t n_in_flight;
    int64_t retries;
    unsigned attempts; /* in vain before this owner began; 0 once a response was of use */
    char unread[REQUEST_SCHEDULE_WHY_BYTES]; /* why the last response could not be; empty: it was */
};

#define REQUEST_SCHEDULE_NEVER INT64_MAX

/* Chosen: a shorter wait for a limit is not worth telling. */
enum { REQUEST_SCHEDULE_WAITING_MIN_MS = 500 };

/*
 * Due, its endpoint open, the key not at rest, no drain, and for what changes
 * something in Klaviyo enough of the lease left.
 */
bool request_schedule_may_start(const struct request_schedule *schedule,
                                const struct pending_request *pending, int64_t now_ms);

/* When it may start as far as is known; NEVER while it is in flight. */
int64_t request_schedule_due_ms(const struct request_schedule *schedule,
                                const struct pending_request *pending);

/*
 * It is on its way. The next may follow at once: the account's permits keep the limit, and
 * how many imports are in flight is the delivery's to bound (DELIVERY_IMPORTS_MAX), so that
 * few are there when Klaviyo says stop. At an even pace the last ten would take a second.
 */
void request_schedule_started(struct request_schedule *schedule, struct pending_request *pending,
                              int64_t now_ms);

/* Its response is there, whatever it says; nobody has found yet that it cannot be read. */
void request_schedule_ended(struct request_schedule *schedule, struct pending_request *pending);

/* It was in vain: due again after a growing pause of random length, at least wait_ms. */
void request_schedule_again(struct request_schedule *schedule, struct pending_request *pending,
                            int64_t now_ms, int64_t wait_ms);

/*
 * So was a response that cannot be read: as a 5xx. why, in words fit for a log, is copied.
 */
void request_schedule_unread(struct request_schedule *schedule, struct pending_request *pending,
                             int64_t now_ms, const struct error *why);

/* Nothing is sent to the endpoint before until_ms. An earlier time changes nothing. */
void request_schedule_close(struct request_schedule *schedule, enum endpoint endpoint,
                            int64_t until_ms);

/*
 * Klaviyo refused the key. True: for the second time, after a rest of 10 s; what
 * was sent before the first refusal came does not count. It is the second time where the
 * endpoint refused it before, or any other did and none has accepted it since: another
 * endpoint may need fewer scopes, so that it accepts the key says nothing about the first.
 * A refusal long ago, after which nothing was asked there again, does not count.
 */
bool request_schedule_key_refused(struct request_schedule *schedule,
                                  struct pending_request *pending, int64_t now_ms);

/*
 * A response of use, to a request that was made after the rest of the key: it is not in
 * doubt any more.
 */
void request_schedule_key_accepted(struct request_schedule *schedule,
                                   const struct pending_request *pending);

/*
 * How long nothing can be done but wait for the limit of an endpoint that is needed (a set):
 * 0 while something is in flight, or where the wait is not worth telling.
 */
int64_t request_schedule_waiting_ms(const struct request_schedule *schedule, unsigned needed,
                                    int64_t now_ms);

#endif
