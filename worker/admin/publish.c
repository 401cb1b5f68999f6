#include "worker/admin/publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/nearest.h"
#include "worker/admin/follow.h"
#include "worker/admin/name.h"
#include "worker/admin/refresh_event.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/kafka/kafka_settings.h"
#include "worker/kafka/producer.h"
#include "worker/store/guard.h"
#include "worker/store/history.h"
#include "worker/store/publish_targets.h"

enum { SEND_TIMEOUT_MS = 30000, TAKEN_IN_LATE_MS = 15000, LETTER_LATE_MS = 15000 };

/* What is published: one event for each target, [{"segment", "export"}]. */
struct publication {
    json_t *targets;
    struct refresh_event *events;
    size_t n;
    int64_t sent_ms;
    unsigned confirmed; /* set of guards */
    bool warned_late, warned_letter;
    int64_t letter_due_ms; /* since when a dead letter is waited for; 0: none is */
};

static void publication_release(struct publication *p)
{
    json_decref(p->targets);
    free(p->events);
}

/* -- what to publish -- */

static bool add_targets(struct publication *p, const char *json, struct error *err)
{
    CLEANUP(json_freep) json_t *found = json_loads(json, 0, NULL);

    if (!found || json_array_extend(p->targets, found) != 0)
        return error_no_memory(err);
    return true;
}

static bool add_segment(struct context *context, struct publication *p, const char *segment,
                        struct error *err)
{
    char *json;

    if (!name_check(context, "segment", segment, err) ||
        !publish_targets_of_segment(context->db, segment, &json, err))
        return false;
    bool ok = add_targets(p, json, err);
    free(json);
    return ok;
}

static bool add_export(struct context *context, struct publication *p, const char *name,
                       struct error *err)
{
    char *json;

    if (!publish_targets_of_export(context->db, name, &json, err))
        return false;
    bool ok = add_targets(p, json, err);
    free(json);
    return ok;
}

static bool find_targets(struct context *context, struct publication *p, struct error *err)
{
    const char *name = arguments_value(context->arguments, "--export");

    if ((context->arguments->n_operands > 0) == (name != NULL))
        return wrong_usage(context, err,
                           "publish needs segments, or --export NAME for one export alone");
    if (name)
        return add_export(context, p, name, err);
    for (size_t i = 0; i < context->arguments->n_operands; i++)
        if (!add_segment(context, p, context->arguments->operands[i], err))
            return false;
    return true;
}

/* -- what is confirmed -- */

static bool confirm_guard(struct context *context, const char *name, unsigned *confirmed,
                          struct error *err)
{
    struct nearest nearest = NEAREST_INIT(name);
    enum guard guard;

    if (guard_find(name, strlen(name), &guard)) {
        *confirmed |= GUARD_BIT(guard);
        return true;
    }
    for (int i = 0; i < GUARDS_N; i++)
        nearest_offer(&nearest, guard_name((enum guard)i));
    if (nearest.best)
        return wrong_usage(context, err, "--confirm: there is no guard %s; did you mean %s?", name,
                           nearest.best);
    return wrong_usage(context, err,
                       "--confirm: there is no guard %s: they are too_many_invalid, size_jumped, "
                       "over_plan_limit and list_starts_flows",
                       name);
}

static bool read_confirmed(struct context *context, unsigned *confirmed, struct error *err)
{
    size_t at = 0;

    *confirmed = 0;
    for (const char *name = arguments_next(context->arguments, "--confirm", &at); name;
         name = arguments_next(context->arguments, "--confirm", &at))
        if (!confirm_guard(context, name, confirmed, err))
            return false;
    return true;
}

/* -- sending -- */

static bool send_event(struct context *context, struct producer *producer,
                       const struct refresh_event *event, struct error *err)
{
    CLEANUP(record_freep) struct record *record = refresh_event_record(event);

    if (!record)
        return error_no_memory(err);
    if (!producer_send(producer, context->settings->kafka_topic, record, SEND_TIMEOUT_MS, err))
        return error_wrap(err, "segment %s was not published", event->segment_id);
    print_line("Published segment %s%s%s as event %s.", event->segment_id,
               event->export_name ? " for export " : "",
               event->export_name ? event->export_name : "", event->id);
    (void)fflush(stdout);
    return true;
}

static bool send_all(struct context *context, struct publication *p, struct error *err)
{
    CLEANUP(producer_freep) struct producer *producer = producer_new(context->settings, err);
    size_t n = json_array_size(p->targets);

    if (!producer)
        return false;
    p->events = calloc(n + 1, sizeof *p->events);
    if (!p->events)
        return error_no_memory(err);
    for (; p->n < n; p->n++) {
        const json_t *target = json_array_get(p->targets, p->n);
        struct refresh_event *event = &p->events[p->n];

        event->segment_id = json_string_value(json_object_get(target, "segment"));
        event->export_name = json_string_value(json_object_get(target, "export"));
        event->full = arguments_flag(context->arguments, "--full");
        event->confirm_removals = arguments_flag(context->arguments, "--confirm-removals");
        event->confirmed = p->confirmed;
        refresh_event_init(event);
        if (!send_event(context, producer, event, err))
            return false;
    }
    p->sent_ms = clock_ms();
    return true;
}

/* -- waiting for the end -- */

/* No worker has taken the event in yet: is there any that would? */
static bool check_not_ignored(struct db *db, const struct refresh_event *event, struct error *err)
{
    char *json = NULL;

    if (event->export_name)
        return publish_targets_check(db, event->export_name, event->segment_id, err);
    if (!publish_targets_of_segment(db, event->segment_id, &json, err))
        return false;
    free(json);
    return true;
}

static bool not_taken_in(struct publication *p, struct db *db, const struct refresh_event *event,
                         struct error *err)
{
    if (clock_ms() - p->sent_ms < TAKEN_IN_LATE_MS)
        return true;
    if (!p->warned_late)
        warn_user("no worker has taken the event in yet: is klaviyo-worker run started?");
    p->warned_late = true;
    return check_not_ignored(db, event, err);
}

static bool has_state(const json_t *request, const char *state)
{
    return strcmp(json_string_value(json_object_get(request, "state")), state) == 0;
}

/*
 * The event has died and its letter is not there yet: it is waited for, so that
 * what comes next finds it. True: long enough.
 */
static bool letter_is_late(struct publication *p, const struct refresh_event *event)
{
    if (p->letter_due_ms == 0)
        p->letter_due_ms = clock_ms();
    if (clock_ms() - p->letter_due_ms < LETTER_LATE_MS)
        return false;
    if (!p->warned_letter)
        warn_user("the dead letter of event %s is not written yet, dead-letters does not show it: "
                  "the workers' log says why (dead_letter_not_written)",
                  event->id);
    p->warned_letter = true;
    return true;
}

static bool read_event_state(struct publication *p, struct db *db,
                             const struct refresh_event *event, json_t *runs, bool *over,
                             struct error *err)
{
    char *json;

    if (!history_follow(db, REFRESH_EVENT_SOURCE, event->id, &json, err))
        return false;
    *over = false;
    if (!json)
        return not_taken_in(p, db, event, err);
    CLEANUP(json_freep) json_t *seen = json_loads(json, 0, NULL);
    free(json);
    if (!seen || json_array_extend(runs, json_object_get(seen, "runs")) != 0)
        return error_no_memory(err);
    *over =
        has_state(seen, "dead_letter_due") ? letter_is_late(p, event) : !has_state(seen, "open");
    if (*over && !has_state(seen, "done") && json_array_size(json_object_get(seen, "runs")) == 0)
        return error_set(err, ERROR_INPUT, "event %s was refused: %s", event->id,
                         json_string_value(json_object_get(seen, "reason")));
    return true;
}

static bool read_all_states(void *opaque, struct db *db, json_t **runs, bool *over,
                            struct error *err)
{
    struct publication *p = opaque;
    CLEANUP(json_freep) json_t *all = json_array();
    bool all_over = true, this_over;

    if (!all)
        return error_no_memory(err);
    for (size_t i = 0; i < p->n; i++) {
        if (!read_event_state(p, db, &p->events[i], all, &this_over, err))
            return false;
        all_over = all_over && this_over;
    }
    *runs = json_take(&all);
    *over = all_over;
    return true;
}

static bool publish(struct context *context, struct error *err)
{
    struct publication p = { .targets = json_array() };

    bool ok = p.targets ? read_confirmed(context, &p.confirmed, err) &&
                              find_targets(context, &p, err) && send_all(context, &p, err)
                        : error_no_memory(err);
    if (ok && arguments_flag(context->arguments, "--wait"))
        ok = follow_to_the_end(context, &(struct follow){ read_all_states, &p }, err);
    publication_release(&p);
    return ok;
}

static const struct option_spec options[] = {
    { "--export", OPTION_VALUE, false, "NAME", "this export alone, instead of segments" },
    { "--full", OPTION_FLAG, false, NULL, "send every member, not only what changed" },
    { "--confirm-removals", OPTION_FLAG, false, NULL, "allow removals that were withheld, once" },
    { "--confirm", OPTION_LIST, false, "GUARD",
      "let the run pass a guard that stopped the last one, once: too_many_invalid, size_jumped, "
      "over_plan_limit or list_starts_flows" },
    { "--wait", OPTION_FLAG, false, NULL,
      "follow the runs to their end; succeeds if all of them do" },
    OPTIONS_END,
};

const struct command publish_commands[] = {
    { .words = "publish",
      .who = EXPORTERS,
      .operands = "SEGMENT… | --export NAME",
      .max_operands = 10000,
      .options = options,
      .needs = NEEDS_DATABASE,
      .checks = kafka_settings_checks,
      .summary = "publish refresh events to Kafka, like any publisher",
      .details = "The runs have the trigger on-demand. Segments that no active export uses are\n"
                 "refused.",
      .run = publish },
    { .words = NULL },
};
