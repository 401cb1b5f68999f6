#include "tests/simulator/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/parse.h"
#include "tests/simulator/address.h"
#include "tests/simulator/document.h"
#include "tests/simulator/memory.h"

struct control {
    struct world *world;
    const struct request *request;
    struct answer *answer;
    char id[PATH_ID_MAX];
    json_t *body; /* an object; NULL if none was sent */
    int64_t now_us;
};

static void done(struct control *control)
{
    control->answer->status = 204;
}

static void complain(struct control *control, int status, const char *why)
{
    answer_json(control->answer, status, json_pack("{s:s}", "error", why));
}

static const char *text_of(const struct control *control, const char *name)
{
    return json_string_value(json_object_get(control->body, name));
}

static void put_number(const struct control *control, const char *name, int64_t *number)
{
    const json_t *value = json_object_get(control->body, name);

    if (json_is_integer(value))
        *number = json_integer_value(value);
}

static void put_account(struct control *control)
{
    struct account *account = accounts_put(&control->world->accounts, control->id);
    const char *name = text_of(control, "organization_name");

    if (name) {
        free(account->organization_name);
        account->organization_name = memory_string(name);
    }
    put_number(control, "usage_used", &account->usage_used);
    put_number(control, "usage_max", &account->usage_max);
    done(control);
}

/* The account that the body names, made if need be; without a name the only one there is. */
static struct account *account_of(struct control *control)
{
    const char *id = text_of(control, "account");
    const struct accounts *accounts = &control->world->accounts;

    if (id)
        return accounts_put(&control->world->accounts, id);
    if (accounts->n == 1)
        return accounts->list[0];
    complain(control, 400, "which account?");
    return NULL;
}

/* False, and the answer says so, if a scope is unknown. */
static bool read_scopes(struct control *control, unsigned *out)
{
    const json_t *list = json_object_get(control->body, "scopes");
    unsigned bits = 0;

    if (!list || json_is_string(list)) {
        bool all = list && strcmp(json_string_value(list), "all") == 0;
        *out = all ? SCOPES_ALL : SCOPES_DEFAULT;
        return true;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        unsigned bit = text ? scope_parse(text) : 0;

        if (!bit) {
            complain(control, 400, "no such scope");
            return false;
        }
        bits |= bit;
    }
    *out = bits;
    return true;
}

static void put_key(struct control *control)
{
    unsigned scopes;
    struct account *account;

    if (!read_scopes(control, &scopes) || !(account = account_of(control)))
        return;
    accounts_put_key(&control->world->accounts, control->id, account, scopes);
    done(control);
}

static void delete_key(struct control *control)
{
    if (accounts_drop_key(&control->world->accounts, control->id))
        done(control);
    else
        complain(control, 404, "no such key");
}

/* "flows" replaces those that the list triggers: [{"name", "status", "archived"}]. */
static void put_flows(const struct control *control, struct list *list)
{
    const json_t *flows = json_object_get(control->body, "flows");

    if (!flows)
        return;
    list->n_flows = 0;
    for (size_t i = 0; i < json_array_size(flows) && i < LIST_FLOWS_MAX; i++) {
        const json_t *given = json_array_get(flows, i);
        struct flow *flow = &list->flows[list->n_flows++];
        const char *name = json_string_value(json_object_get(given, "name"));
        const char *status = json_string_value(json_object_get(given, "status"));

        (void)snprintf(flow->id, sizeof flow->id, "Flow%zu", i + 1);
        (void)snprintf(flow->name, sizeof flow->name, "%s", name ? name : flow->id);
        (void)snprintf(flow->status, sizeof flow->status, "%s", status ? status : "");
        flow->archived = json_is_true(json_object_get(given, "archived"));
    }
}

static void put_list(struct control *control)
{
    struct list *list = lists_find(&control->world->lists, control->id);
    const char *name = text_of(control, "name");
    struct account *account = list ? list->account : account_of(control);

    if (!account)
        return;
    if (!list) {
        list = lists_add(&control->world->lists, control->id, account, name ? name : control->id,
                         control->now_us);
    } else if (name) {
        free(list->name);
        list->name = memory_string(name);
    }
    put_flows(control, list);
    done(control);
}

/* The list that the path names; NULL: the answer is a 404. */
static struct list *find_list(struct control *control)
{
    struct list *list = lists_find(&control->world->lists, control->id);

    if (!list)
        complain(control, 404, "no such list");
    return list;
}

static void delete_list(struct control *control)
{
    struct list *list = find_list(control);

    if (!list)
        return;
    list->deleted = true;
    done(control);
}

static void get_list_count(struct control *control)
{
    const struct list *list = find_list(control);

    if (list)
        answer_json(control->answer, 200, json_pack("{s:I}", "count", (json_int_t)list->members));
}

static int by_email(const void *a, const void *b, void *owner)
{
    const struct profile *list = ((const struct profiles *)owner)->list;
    const char *left = list[*(const uint32_t *)a].email;
    const char *right = list[*(const uint32_t *)b].email;

    return strcmp(left ? left : "", right ? right : "");
}

/* The numbers of the members, sorted by e-mail; free() it. */
static uint32_t *sorted_members(const struct list *list)
{
    uint32_t *numbers = memory_new(list->members * sizeof *numbers);
    size_t n = 0;

    for (size_t i = 0; i < list->cap; i++)
        if (list->joined_s[i])
            numbers[n++] = (uint32_t)i;
    qsort_r(numbers, n, sizeof *numbers, by_email, &list->account->profiles);
    return numbers;
}

static void add_member(struct strbuf *out, const struct list *list, uint32_t number,
                       bool attributes)
{
    struct profiles *profiles = &list->account->profiles;
    char id[PROFILE_ID_BYTES];

    profiles_format_id(profiles, number, id);
    strbuf_add_str(out, "{\"email\":");
    document_add_string(out, profiles->list[number].email);
    strbuf_addf(out, ",\"id\":\"%s\",\"joined_group_at\":", id);
    document_add_time(out, (int64_t)list->joined_s[number] * 1000000, STAMPS_WHOLE);
    if (attributes) {
        struct attributes all = profiles_attributes(profiles, number);

        strbuf_add_str(out, ",\"attributes\":");
        strbuf_add(out, all.at, all.n);
    }
    strbuf_add_str(out, "}");
}

static void get_list_members(struct control *control)
{
    const struct list *list = find_list(control);
    const char *attributes = request_arg(control->request, "attributes");

    if (!list)
        return;
    uint32_t *numbers = sorted_members(list);
    struct strbuf *out = answer_document(control->answer, 200);
    strbuf_addf(out, "{\"count\":%zu,\"members\":[", list->members);
    for (size_t i = 0; i < list->members; i++) {
        strbuf_add_str(out, i ? ",\n" : "");
        add_member(out, list, numbers[i], attributes && strcmp(attributes, "0") != 0);
    }
    strbuf_add_str(out, "]}\n");
    free(numbers);
}

static void get_settings(struct control *control)
{
    answer_json(control->answer, 200, behaviour_json(&control->world->behaviour));
}

static void put_settings(struct control *control)
{
    struct error err = ERROR_INIT;

    if (behaviour_apply(&control->world->behaviour, control->body, &err))
        get_settings(control);
    else
        complain(control, 400, err.text);
}

static void post_reject(struct control *control)
{
    struct error err = ERROR_INIT;

    if (rejects_add(&control->world->rejects, control->body, &err))
        done(control);
    else
        complain(control, 400, err.text);
}

static void put_reject(struct control *control)
{
    rejects_release(&control->world->rejects);
    post_reject(control);
}

static void delete_rejects(struct control *control)
{
    rejects_release(&control->world->rejects);
    done(control);
}

static void post_fault(struct control *control)
{
    struct error err = ERROR_INIT;
    unsigned id = faults_add(&control->world->faults, control->body, &err);

    if (id)
        answer_json(control->answer, 201, json_pack("{s:i}", "id", (int)id));
    else
        complain(control, 400, err.text);
}

static void get_faults(struct control *control)
{
    answer_json(control->answer, 200, faults_json(&control->world->faults));
}

/* Lanes that a throttle fault has closed are open again. */
static void delete_faults(struct control *control)
{
    const struct accounts *accounts = &control->world->accounts;

    faults_release(&control->world->faults);
    for (size_t i = 0; i < accounts->n; i++)
        for (size_t k = 0; k < N_OPERATIONS; k++)
            accounts->list[i]->lanes[k].closed_until_us = 0;
    done(control);
}

static int64_t number_arg(const struct control *control, const char *name, int64_t fallback)
{
    const char *text = request_arg(control->request, name);
    int64_t number = fallback;

    if (text)
        (void)!parse_int64(text, 0, INT64_MAX, &number);
    return number;
}

static void get_diary(struct control *control)
{
    uint64_t after = (uint64_t)number_arg(control, "after", 0);
    size_t limit = (size_t)number_arg(control, "limit", 1000000);

    answer_json(control->answer, 200, diary_json(&control->world->diary, after, limit));
}

static void delete_diary(struct control *control)
{
    diary_clear(&control->world->diary);
    done(control);
}

static void get_diary_body(struct control *control)
{
    int64_t seq = 0;
    const struct diary_entry *entry = NULL;

    if (parse_int64(control->id, 1, INT64_MAX, &seq))
        entry = diary_find(&control->world->diary, (uint64_t)seq);
    if (entry && entry->body)
        strbuf_add_str(answer_document(control->answer, 200), entry->body);
    else
        complain(control, 404, "no such body");
}

static json_t *job_emails(const struct job *job)
{
    json_t *emails = json_array();

    for (size_t i = 0; i < job->total; i++)
        json_array_append_new(emails, json_string(job_row_email(job, i)));
    return emails;
}

static void get_emails(struct control *control)
{
    const char *id = request_arg(control->request, "job");
    const struct job *job = id ? jobs_find_any(&control->world->jobs, id) : NULL;
    json_t *emails = job ? job_emails(job) : NULL;

    if (!emails)
        emails = received_of(&control->world->received, (uint64_t)number_arg(control, "seq", 0));
    if (emails)
        answer_json(control->answer, 200, json_pack("{s:o}", "emails", emails));
    else
        complain(control, 404, "no such import");
}

static void get_received(struct control *control)
{
    const char *email = request_arg(control->request, "email");
    CLEANUP(strbuf_release) struct strbuf normal = STRBUF_INIT(4096);

    address_normalise(email ? email : "", email ? strlen(email) : 0, &normal);
    answer_json(
        control->answer, 200,
        json_pack("{s:o}", "received", received_find(&control->world->received, normal.data)));
}

static json_t *job_json(const struct control *control, const struct job *job)
{
    return json_pack(
        "{s:s, s:s, s:s, s:f, s:f, s:I, s:I, s:I, s:s?, s:b, s:b}", "id", job->id, "account",
        job->account->id, "status", job_state_name(job_state(job, control->now_us)), "created_at",
        (double)job->created_us / 1e6, "ends_at", (double)job->ends_us / 1e6, "total",
        (json_int_t)job->total, "failed", (json_int_t)job->failed, "errors",
        (json_int_t)job->n_errors, "list", job->n_lists ? job->lists[0]->id : NULL, "applied",
        job->applied && job->fate != FATE_CANCELLED && job->fate != FATE_VANISH, "vanished",
        job->fate == FATE_VANISH);
}

static void get_job(struct control *control)
{
    const struct job *job = jobs_find_any(&control->world->jobs, control->id);

    if (job)
        answer_json(control->answer, 200, job_json(control, job));
    else
        complain(control, 404, "no such job");
}

static void get_jobs(struct control *control)
{
    const struct jobs *jobs = &control->world->jobs;
    json_t *list = json_array();

    for (size_t i = 0; i < jobs->n; i++)
        json_array_append_new(list, job_json(control, jobs->list[i]));
    answer_json(control->answer, 200, json_pack("{s:o}", "jobs", list));
}

static void add_statuses(json_t *requests, const char *endpoint, const struct traffic *traffic)
{
    json_t *counts = json_object_get(requests, endpoint);
    char status[16];

    if (!counts) {
        counts = json_object();
        json_object_set_new(requests, endpoint, counts);
    }
    for (size_t i = 0; i < TRAFFIC_STATUSES && traffic->statuses[i].count; i++) {
        (void)snprintf(status, sizeof status, "%d", traffic->statuses[i].status);
        json_int_t before = json_integer_value(json_object_get(counts, status));
        json_object_set_new(counts, status,
                            json_integer(before + (json_int_t)traffic->statuses[i].count));
    }
}

static void add_lane(json_t *lanes, const struct account *account, enum operation operation)
{
    static const char *const forms[] = { "", ":ids" };
    const struct traffic *traffic = &account->lanes[operation].traffic;
    bool ids = operation == OP_LIST_MEMBER_IDS || operation == OP_JOB_PROFILE_IDS ||
               operation == OP_JOB_LIST_IDS;
    char name[48];

    (void)snprintf(name, sizeof name, "%s%s", operation_name(operation), forms[ids]);
    json_array_append_new(lanes,
                          json_pack("{s:s, s:s, s:I, s:i, s:i}", "account", account->id, "endpoint",
                                    name, "requests", (json_int_t)traffic->requests, "max_1s",
                                    (int)traffic->max_1s, "max_60s", (int)traffic->max_60s));
}

static json_int_t throttled(const struct traffic *traffic)
{
    for (size_t i = 0; i < TRAFFIC_STATUSES; i++)
        if (traffic->statuses[i].status == 429)
            return (json_int_t)traffic->statuses[i].count;
    return 0;
}

struct totals {
    json_t *requests, *lanes;
    json_int_t received, accepted, throttled;
};

static void add_account(struct totals *totals, const struct account *account)
{
    totals->received += (json_int_t)account->profiles_received;
    totals->accepted += (json_int_t)account->profiles_accepted;
    for (unsigned i = 0; i < N_OPERATIONS; i++) {
        const struct traffic *traffic = &account->lanes[i].traffic;

        if (traffic->requests == 0)
            continue;
        totals->throttled += throttled(traffic);
        add_statuses(totals->requests, operation_name((enum operation)i), traffic);
        add_lane(totals->lanes, account, (enum operation)i);
    }
}

static void get_stats(struct control *control)
{
    const struct accounts *accounts = &control->world->accounts;
    struct totals totals = { .requests = json_object(), .lanes = json_array() };

    add_statuses(totals.requests, "unmatched", &control->world->unmatched);
    for (size_t i = 0; i < accounts->n; i++)
        add_account(&totals, accounts->list[i]);
    answer_json(control->answer, 200,
                json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "requests", totals.requests, "lanes",
                          totals.lanes, "profiles_received", totals.received, "profiles_accepted",
                          totals.accepted, "throttled", totals.throttled, "jobs",
                          (json_int_t)control->world->jobs.n));
}

static void delete_state(struct control *control)
{
    world_reset(control->world);
    done(control);
}

static const struct {
    const char *method, *pattern;
    void (*answer)(struct control *);
} routes[] = {
    { "PUT", "/control/accounts/{id}", put_account },
    { "PUT", "/control/keys/{id}", put_key },
    { "DELETE", "/control/keys/{id}", delete_key },
    { "PUT", "/control/lists/{id}", put_list },
    { "DELETE", "/control/lists/{id}", delete_list },
    { "GET", "/control/lists/{id}/members", get_list_members },
    { "GET", "/control/lists/{id}/count", get_list_count },
    { "GET", "/control/settings", get_settings },
    { "PUT", "/control/settings", put_settings },
    { "PUT", "/control/rejects", put_reject },
    { "POST", "/control/rejects", post_reject },
    { "DELETE", "/control/rejects", delete_rejects },
    { "GET", "/control/faults", get_faults },
    { "POST", "/control/faults", post_fault },
    { "DELETE", "/control/faults", delete_faults },
    { "GET", "/control/diary", get_diary },
    { "DELETE", "/control/diary", delete_diary },
    { "GET", "/control/diary/bodies/{id}", get_diary_body },
    { "GET", "/control/emails", get_emails },
    { "GET", "/control/received", get_received },
    { "GET", "/control/jobs", get_jobs },
    { "GET", "/control/jobs/{id}", get_job },
    { "GET", "/control/stats", get_stats },
    { "DELETE", "/control/state", delete_state },
};

static void dispatch(struct control *control)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(routes[i].method, control->request->method) != 0 ||
            !path_matches(routes[i].pattern, control->request->path, control->id))
            continue;
        routes[i].answer(control);
        return;
    }
    complain(control, 404, "no such control");
}

/* False, and the answer says so, if there is a body that is no JSON object. */
static bool read_body(struct control *control)
{
    json_error_t why;

    if (control->request->body_n == 0)
        return true;
    control->body = json_loadb(control->request->body, control->request->body_n, 0, &why);
    if (json_is_object(control->body))
        return true;
    complain(control, 400, control->body ? "the body must be an object" : why.text);
    return false;
}

void control_answer(struct world *world, const struct request *request, struct answer *answer)
{
    struct control control = { .world = world, .request = request, .answer = answer };

    if (read_body(&control)) {
        pthread_mutex_lock(&world->lock);
        control.now_us = clock_utc_us();
        jobs_advance(&world->jobs, control.now_us);
        dispatch(&control);
        pthread_mutex_unlock(&world->lock);
    }
    json_decref(control.body);
}
