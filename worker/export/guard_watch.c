#include "worker/export/guard_watch.h"

#include "common/log.h"

static void warn_of_plan(struct guard_watch *watch, const struct run_task *task,
                         const struct guards_facts *facts)
{
    if (watch->plan_warned)
        return;
    watch->plan_warned = true;
    log_warn("plan_may_be_exceeded", LOG_INT("run", task->run_id),
             LOG_STR("export", task->export_name), LOG_INT("new", facts->fresh),
             LOG_INT("used", facts->plan_used), LOG_INT("maximum", facts->plan_maximum),
             LOG_STR("trace", task->traceparent));
}

bool guard_watch_look(struct guard_watch *watch, const struct run_task *task, struct plan *plan,
                      struct delivery *delivery, struct guards_verdict *verdict)
{
    const struct guards_names names = { task->export_name, task->list_id, task->email_field };
    struct guards_facts facts = plan_facts(plan);

    delivery_tell(delivery, &facts);
    struct guards_questions ask = guards_questions(&task->guards, task->max_profiles, &facts);
    delivery_ask(delivery, &ask);
    guards_judge(&task->guards, task->max_profiles, &facts, &names, verdict);
    if (verdict->plan_warned)
        warn_of_plan(watch, task, &facts);
    watch->passed = watch->passed || verdict->state == GUARDS_PASS;
    return watch->passed || verdict->state == GUARDS_UNDECIDED;
}
