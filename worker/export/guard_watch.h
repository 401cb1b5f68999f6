#ifndef WORKER_EXPORT_GUARD_WATCH_H
#define WORKER_EXPORT_GUARD_WATCH_H

#include <stdbool.h>

#include "worker/export/delivery.h"
#include "worker/export/guards.h"
#include "worker/export/plan.h"
#include "worker/store/run_task.h"

/*
 * The guards of a run while it is planned: facts from the plan and from Klaviyo, until
 * they let it pass or end it. Once it has passed, nothing that comes can trip one (guards.h).
 */
struct guard_watch {
    bool passed;      /* imports may begin */
    bool plan_warned; /* it was said that Klaviyo's plan may be exceeded */
};

/*
 * Judges what is known by now; asks Klaviyo, through the delivery, as soon as its answer may
 * decide; logs the one warning. False: a guard tripped, *verdict says which and why.
 */
bool guard_watch_look(struct guard_watch *watch, const struct run_task *task, struct plan *plan,
                      struct delivery *delivery, struct guards_verdict *verdict) MUST_USE;

#endif
