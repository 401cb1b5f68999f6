#ifndef WORKER_EXPORT_DELIVERY_H
#define WORKER_EXPORT_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/availability.h"
#include "worker/export/batch_import.h"
#include "worker/export/delivery_reply.h"
#include "worker/export/effect.h"
#include "worker/export/import_set.h"
#include "worker/export/job_polls.h"
#include "worker/export/questions.h"
#include "worker/export/removal.h"
#include "worker/export/request_schedule.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/verdict.h"

/*
 * Delivery: all batches of a run in flight (pure: no database, no network, no clock).
 *
 * Facts go in, effects come out:
 *
 *     delivery_response(&delivery, &reply, err);
 *     while (delivery_next(&delivery, now, &effect)) {
 *         … perform it …
 *         delivery_performed(&delivery, &effect, &result, now, err);
 *     }
 *     … wait until delivery_due_ms(&delivery, now), or for a fact …
 *
 * After each response the effects are taken until there is none. Times are
 * milliseconds of clock_ms(). Functions that return false say why in err
 * (ERROR_RETRY: out of memory; ERROR_FATAL: a mistake of ours); the delivery is
 * over then.
 */
struct delivery_options {
    const char *list_id; /* strings are lent for as long as the delivery lives */
    const char *export_name;
    const char *connection_name;
    bool list_known; /* its name is stored */
    struct import_rules rules;
    uint32_t (*random)(void);

    /* Of a run that was parked. */
    unsigned attempts;   /* in vain, in a row */
    bool unavailable;    /* it waited for Klaviyo to come back */
    bool list_was_busy;  /* it waited for another run to finish with the list */
    bool limited;        /* or for a limit */
    const char *trouble; /* the last; NULL: none */
    int64_t now_ms;
};

enum list_state { LIST_UNASKED, LIST_WANTED, LIST_THERE };

/* Since the beginning. */
struct delivery_counts {
    int64_t requests;
    int64_t throttled;
    int64_t retries;
    int64_t accepted; /* rows */
    int64_t progress; /* steps that count as progress of the run */
};

struct delivery {
    struct delivery_options options;
    struct request_schedule schedule;
    struct strbuf tail;       /* of an import that names the list */
    struct strbuf plain_tail; /* of one that does not */

    struct import_set imports;
    bool may_deliver; /* the plan allows it */
    bool plan_done;   /* every batch that there will be is in the outbox */
    struct removal removal;
    bool more_planned; /* the outbox may hold batches that were not fetched yet */

    struct questions questions; /* of the guards */
    struct job_polls polls;
    struct pending_request list;
    enum list_state list_state;
    bool list_name_wanted; /* to be stored */
    char list_name[LIST_NAME_BYTES];

    enum endpoint blocked; /* while blocked_ms > 0 */
    int64_t blocked_ms;
    bool blocked_by_limit; /* a 429 */
    bool words_wanted;     /* to be kept */
    char words_code[VERDICT_CODE_BYTES];
    char words[VERDICT_DETAIL_BYTES]; /* Klaviyo's own: in a log or a detail masked only */
    enum run_reason reason;           /* of the failed run; NONE: it has not failed */
    char detail[1536];
    bool key_refused;
    struct availability availability;
    struct delivery_counts counts;
};

/*
 * options are copied, what they point to is lent until delivery_release().
 * False: out of memory (ERROR_RETRY); release is safe then, too.
 */
bool delivery_init(struct delivery *delivery, const struct delivery_options *options,
                   struct error *err) MUST_USE;
void delivery_release(struct delivery *delivery);

/* ---- facts ---- */

/* Jobs of an earlier owner of the run. Takes the batches; each gets the whole time of a job. */
bool delivery_adopt(struct delivery *delivery, struct outbox_batches *batches, int64_t now_ms,
                    struct error *err) MUST_USE;

/*
 * Jobs that earlier runs of the export left behind. Takes them. Until each has
 * ended, or was waited for long enough, nothing is fetched and nothing is to be
 * planned: what they hold is older.
 */
bool delivery_adopt_late_jobs(struct delivery *delivery, struct late_jobs *jobs, int64_t now_ms,
                              struct error *err) MUST_USE;

struct delivery_plan_news {
    bool more;                      /* batches were planned since the last news */
    bool may_deliver;               /* the guards let the run pass */
    bool done;                      /* it has ended well: no batch will come any more */
    struct removal_figures figures; /* once it is done */
};

/* What the plan did since the last call. */
void delivery_plan(struct delivery *delivery, const struct delivery_plan_news *news);

/* What Klaviyo is to be asked for the guards, and what is known of that so far. */
void delivery_ask(struct delivery *delivery, const struct guards_questions *ask);
void delivery_tell(const struct delivery *delivery, struct guards_facts *facts);

/* No import is begun from until_ms on. */
void delivery_allow_imports(struct delivery *delivery, int64_t until_ms);

/* The process drains: no request is begun from now on. */
void delivery_drain(struct delivery *delivery);

/* A request has ended. */
bool delivery_response(struct delivery *delivery, const struct delivery_reply *reply,
                       struct error *err) MUST_USE;

/* ---- effects ---- */

/* False: nothing is to be done now. */
bool delivery_next(struct delivery *delivery, int64_t now_ms, struct effect *effect) MUST_USE;

/* Not for FAIL and DONE: they end the delivery. */
bool delivery_performed(struct delivery *delivery, const struct effect *effect,
                        struct effect_result *result, int64_t now_ms, struct error *err) MUST_USE;

/* ---- its state; when it continues: delivery_wait.h ---- */

/* Every batch has ended, and none will come. */
bool delivery_imports_are_over(const struct delivery *delivery);

/* Somebody waits for the list: else it is only asked for its name. */
bool delivery_needs_list(const struct delivery *delivery);

/* Rows of the request that pending is, for the verdict; 0 for others than imports. */
size_t delivery_request_rows(const struct pending_request *pending);

/* How many jobs of earlier runs it waits for. */
size_t delivery_late_jobs(const struct delivery *delivery);

/* Imports in flight. */
size_t delivery_posting(const struct delivery *delivery);

/* A copy, as of now. */
struct delivery_counts delivery_counts(const struct delivery *delivery);

#endif
