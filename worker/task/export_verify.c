/*
 * The task `export verify`: what is on the list in Klaviyo, against what the members and the
 * ledger say should be there. It only reads. Argument: show (name the addresses).
 *
 * Answer: export, list; counts (list_comparison.h, by these names); ran_meanwhile (a run
 * of the export was in progress: some of it is not drift); shown, with the argument: missing,
 * not_sent and not_ours, of each SHOWN_MAX addresses at most. not_ours are people of whom the
 * export knows nothing, and the list may be any of the account: null for users who are not
 * administrators.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/export/list_comparison.h"
#include "worker/export/preview.h"
#include "worker/store/history.h"
#include "worker/store/run_task.h"
#include "worker/task/stored_key.h"
#include "worker/task/task_arguments.h"
#include "worker/task/task_kind.h"

enum {
    SHOWN_MAX = 1000,
    PAGES_MAX = 200000, /* four times what the largest list that can be compared has */
};

struct verification {
    const struct task_context *context;
    struct run_task *task;
    struct klaviyo_query *query;
    struct list_comparison comparison;
    bool show;
    bool show_others; /* also addresses that are not ours */
    json_t *missing;  /* these three are arrays of the answer */
    json_t *not_sent;
    json_t *not_ours;
};

/* -- what we know -- */

static bool remember_address(void *opaque, const struct candidate *candidate, bool is_member,
                             struct error *err)
{
    struct verification *v = opaque;
    const struct bytes *address = candidate_address(candidate);
    unsigned known =
        (selection_was_listed(candidate) ? KNOWN_OURS : 0U) | (is_member ? KNOWN_MEMBER : 0U);

    return known == 0 || list_comparison_add(&v->comparison, address->at, address->n, known, err);
}

static void name(json_t *addresses, const char *address, size_t len)
{
    if (json_array_size(addresses) < SHOWN_MAX)
        (void)json_array_append_new(addresses, json_stringn(address, len));
}

/* A second pass over the same: by now it is known what was met. */
static bool name_address(void *opaque, const struct candidate *candidate, bool is_member,
                         struct error *err)
{
    struct verification *v = opaque;
    const struct bytes *address = candidate_address(candidate);
    unsigned known = list_comparison_look(&v->comparison, address->at, address->n);

    (void)err;
    if (known & KNOWN_OURS) {
        if (!(known & KNOWN_MET))
            name(v->missing, address->at, address->n);
    } else if (known && is_member) {
        name(v->not_sent, address->at, address->n);
    }
    return true;
}

static void ignore_members(void *opaque, const struct member_count *count)
{
    (void)opaque;
    (void)count;
}

static void ignore_batch(void *opaque)
{
    (void)opaque;
}

static bool is_wanted(void *opaque, const struct selection *selection)
{
    const struct verification *v = opaque;

    (void)selection;
    return !task_is_stopped(v->context);
}

typedef bool address_fn(void *opaque, const struct candidate *candidate, bool is_member,
                        struct error *err);

static bool read_addresses(struct verification *v, const char *doing, address_fn *address,
                           struct error *err)
{
    const struct scan_observer observer = { .opaque = v,
                                            .counted = ignore_members,
                                            .planned = ignore_batch,
                                            .go_on = is_wanted,
                                            .address = address,
                                            .stop_fd = v->context->stop_fd };

    return task_progress(v->context, doing, 0, 0, err) &&
           preview_observe(
               &(struct preview_options){ v->context->settings->database_url, v->task, &observer },
               err);
}

/* -- what is on the list -- */

static void meet_profile(struct verification *v, const char *email)
{
    if (list_comparison_meet(&v->comparison, email) && v->show_others && *email)
        name(v->not_ours, email, strlen(email));
}

static bool read_page(struct verification *v, const char *next, struct profile_page *page,
                      struct error *err)
{
    switch (klaviyo_query_list_profiles(v->query, v->task->list_id, next, page, err)) {
    case KLAVIYO_QUERY_ANSWERED:
        return true;
    case KLAVIYO_QUERY_GONE:
        return error_set(err, ERROR_INPUT,
                         "Klaviyo has no list %s (any more): make one and name it with export "
                         "update --list",
                         v->task->list_id);
    case KLAVIYO_QUERY_KEY_REFUSED:
    case KLAVIYO_QUERY_SCOPE_MISSING:
    case KLAVIYO_QUERY_FAILED:
        break;
    }
    return error_wrap(err, "list %s", v->task->list_id);
}

/* n: profiles so far; of: the number of ours, as an estimate. */
static bool tell_progress(const struct verification *v, struct error *err)
{
    struct list_counts counts = list_comparison_counts(&v->comparison);
    int64_t expected = counts.profiles + counts.missing;

    return task_progress(v->context, "reading the list in Klaviyo", counts.profiles, expected, err);
}

static bool read_list(struct verification *v, struct error *err)
{
    CLEANUP(profile_page_release) struct profile_page page = PROFILE_PAGE_INIT;

    for (int n = 0; n == 0 || page.next; n++) {
        struct profile_page next = PROFILE_PAGE_INIT;

        if (n == PAGES_MAX)
            return error_set(err, ERROR_INPUT, "the list has no end: %d pages were read", n);
        if (!tell_progress(v, err) || !read_page(v, page.next, &next, err))
            return false;
        for (size_t i = 0; i < next.n; i++)
            meet_profile(v, next.profiles[i].email);
        profile_page_release(&page);
        page = next;
    }
    return true;
}

/* -- the answer -- */

static json_t *counts_json(const struct verification *v)
{
    struct list_counts c = list_comparison_counts(&v->comparison);

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "profiles",
                     (json_int_t)c.profiles, "ours", (json_int_t)c.ours, "ours_left",
                     (json_int_t)c.ours_left, "missing", (json_int_t)c.missing, "missing_left",
                     (json_int_t)c.missing_left, "not_ours", (json_int_t)c.not_ours,
                     "not_ours_members", (json_int_t)c.not_ours_members, "without_address",
                     (json_int_t)c.without_address, "not_sent", (json_int_t)c.not_sent);
}

static json_t *answer_of(const struct verification *v, bool ran_meanwhile)
{
    json_t *answer =
        json_pack("{s:s, s:s, s:o, s:b}", "export", v->task->export_name, "list", v->task->list_id,
                  "counts", counts_json(v), "ran_meanwhile", ran_meanwhile);

    if (answer && v->show)
        (void)json_object_set_new(answer, "shown",
                                  json_pack("{s:O, s:O, s:O?}", "missing", v->missing, "not_sent",
                                            v->not_sent, "not_ours",
                                            v->show_others ? v->not_ours : NULL));
    return answer;
}

static bool compare(struct verification *v, json_t **answer, struct error *err)
{
    int64_t began_ms = clock_ms();
    bool ran_meanwhile;

    if (!read_addresses(v, "reading members and ledger", remember_address, err) ||
        !read_list(v, err))
        return false;
    struct list_counts counts = list_comparison_counts(&v->comparison);
    if (v->show && (counts.missing > 0 || counts.not_sent > 0) &&
        !read_addresses(v, "looking up addresses", name_address, err))
        return false;
    if (!history_ran_within(v->context->db, v->task->export_name, clock_ms() - began_ms,
                            &ran_meanwhile, err))
        return false;
    *answer = answer_of(v, ran_meanwhile);
    return *answer || error_no_memory(err);
}

static bool verify(struct verification *v, const char *export_name, json_t **answer,
                   struct error *err)
{
    if (!v->missing || !v->not_sent || !v->not_ours)
        return error_no_memory(err);
    if (!run_task_for_preview(v->context->db, export_name, &v->task, err))
        return false;
    v->query = stored_key_query(v->context, v->task->connection_name, NULL, err);
    return v->query && compare(v, answer, err);
}

bool export_verify_task(const struct task_context *context, const json_t *arguments,
                        json_t **answer, struct error *err)
{
    bool show = json_is_true(json_object_get(arguments, "show"));
    struct verification v = { .context = context,
                              .show = show,
                              .show_others =
                                  show && json_is_true(json_object_get(arguments, "whole")),
                              .missing = json_array(),
                              .not_sent = json_array(),
                              .not_ours = json_array() };

    list_comparison_init(&v.comparison);
    bool ok = verify(&v, task_name(arguments), answer, err);
    list_comparison_release(&v.comparison);
    klaviyo_query_free(v.query);
    run_task_free(v.task);
    json_decref(v.missing);
    json_decref(v.not_sent);
    json_decref(v.not_ours);
    return ok || error_wrap(err, "export %s", task_name(arguments));
}
