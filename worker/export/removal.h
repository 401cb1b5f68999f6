#ifndef WORKER_EXPORT_REMOVAL_H
#define WORKER_EXPORT_REMOVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/delivery_reply.h"
#include "worker/export/effect.h"
#include "worker/export/removal_guard.h"
#include "worker/export/request_schedule.h"
#include "worker/klaviyo/list_removal.h"
#include "worker/klaviyo/profile_lookup.h"
#include "worker/klaviyo/response.h"
#include "worker/klaviyo/verdict.h"
#include "worker/store/leavers.h"

/*
 * The removal: addresses that left are taken off the list, after all batches of the run have
 * ended (pure). A part of the delivery, which owns it and gives it facts.
 *
 *     figures ─► guard ─► claim the list ─► release ─► fetch ─► look up ─► remove ─► forget ─► over
 *                  └► withheld: over                     ▲      100 each    1,000      │
 *                                                        └─────────────────────────────┘
 *
 * claim: no other run may send to that list meanwhile. release: what another export to the list
 * holds is forgotten here and stays there. fetch: the next 1,000, which from then on count as
 * perhaps gone. forget: their ledger rows go with the commit after Klaviyo's 204.
 *
 * An address that Klaviyo does not know is gone. A request that it refuses as a whole is halved; an
 * address that it refuses alone is kept, and tried again by the next run.
 */
enum {
    REMOVAL_LOOKUPS = 4, /* at once; chosen: 750 a minute are reached at 300 ms each */
    REMOVAL_RELEASE_MAX = 10000,
};

enum removal_step {
    REMOVAL_UNDECIDED, /* the plan has not ended */
    REMOVAL_CLAIM,
    REMOVAL_RELEASE,
    REMOVAL_FETCH,
    REMOVAL_LOOK_UP,
    REMOVAL_REMOVE,
    REMOVAL_FORGET,
    REMOVAL_OVER,
};

/* A stretch of the leavers, or of those that were found. */
struct removal_range {
    size_t from, n;
};

struct removal_ranges {
    struct removal_range *range; /* to be done, the last first */
    size_t n, cap;
};

/* One request in flight, or about to be: it is made again until its response is of use. */
struct removal_request {
    struct pending_request pending;
    struct removal_range range; /* n = 0: free */
    char *next;                 /* a look-up's: link to the page that is due; NULL: the first */
    size_t pages; /* how many of its pages were read: bounded, whatever Klaviyo says */
};

struct removal_found {
    size_t leaver;
    char id[PROFILE_ID_BYTES];
};

struct removal {
    enum removal_step step;
    bool withheld;
    char detail[REMOVAL_DETAIL_BYTES];
    const char *list_id; /* lent */
    int64_t claim_due_ms;
    int64_t claim_pause_ms; /* before the claim is tried once more; grows */
    bool list_busy;         /* another run is using the list */
    int64_t busy_since_ms;

    char *after; /* the last address that was released or fetched */
    struct leaver_chunk leavers;
    struct removal_found *found;
    size_t n_found, cap_found;
    struct removal_ranges ranges;
    struct removal_request lookups[REMOVAL_LOOKUPS];
    struct removal_request remove;
    struct strbuf filter; /* of the look-up that is being sent */
    struct strbuf body;   /* of the removal in flight */
    bool list_checked;    /* it was there after a removal had been refused */
    bool waits_for_list;
};

/* list_id is lent. was_busy: the run was parked because another one was using the list. */
void removal_init(struct removal *removal, const char *list_id, bool was_busy);
void removal_release(struct removal *removal);

/* The plan has ended: what becomes of the leavers. Names: see removal_judge(). */
void removal_decide(struct removal *removal, const struct removal_figures *figures,
                    const char *export_name, const char *connection_name);

/* Nothing is left to be done: all are off the list, or none is to be taken off. */
bool removal_is_over(const struct removal *removal);

/* The next effect; to be asked only when no batch is in flight or will come. */
bool removal_next(struct removal *removal, const struct request_schedule *schedule, int64_t now_ms,
                  struct effect *effect) MUST_USE;

/* One of its own effects was performed; not for SEND. ERROR_RETRY: out of memory. */
bool removal_performed(struct removal *removal, const struct effect *effect,
                       struct effect_result *result, int64_t now_ms, struct error *err) MUST_USE;

/*
 * A response that the delivery does not answer by itself: of use, or a refusal. Of a LOOKUP
 * or a REMOVAL. ERROR_RETRY: out of memory.
 */
bool removal_response(struct removal *removal, struct request_schedule *schedule,
                      const struct delivery_reply *reply, struct error *err) MUST_USE;

/* It refused a removal as a whole: is the list still there? */
bool removal_wants_list(const struct removal *removal);
void removal_list_is_there(struct removal *removal);

/* When removal_next() may have something without another fact; NEVER where nothing is due. */
int64_t removal_due_ms(const struct removal *removal, const struct request_schedule *schedule,
                       int64_t now_ms);

/* One of its requests is made again because of a limit, and is due then. */
bool removal_is_limited(const struct removal *removal, const struct request_schedule *schedule,
                        int64_t due_ms);

/* The endpoint that its next requests go to, as a set; empty: it sends none now. */
unsigned removal_endpoints(const struct removal *removal);

/* The most attempts in vain of its requests. */
unsigned removal_attempts(const struct removal *removal);

#endif
