#include "tests/simulator/resource.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/simulator/document.h"
#include "tests/simulator/page.h"

#define JOBS "/api/profile-bulk-import-jobs"
#define WEEK_US (7 * INT64_C(86400000000))
#define ROW_POINTER "/data/attributes/profiles/data/"

static struct fieldset fieldset(struct call *call, struct strbuf *out, const char *parameter)
{
    strbuf_add_str(out, "\"attributes\":{");
    return (struct fieldset){ .out = out, .wanted = request_arg(call->request, parameter) };
}

static void add_text(struct fieldset *set, const char *name, const char *text)
{
    if (fieldset_member(set, name))
        document_add_string(set->out, text);
}

static void add_number(struct fieldset *set, const char *name, int64_t number)
{
    if (fieldset_member(set, name))
        strbuf_addf(set->out, "%" PRId64, number);
}

/* due false: null. */
static void add_time(struct call *call, struct fieldset *set, const char *name, int64_t utc_us,
                     bool due)
{
    if (!fieldset_member(set, name))
        return;
    if (due)
        document_add_time(set->out, utc_us, call->behaviour.timestamps);
    else
        strbuf_add_str(set->out, "null");
}

void resource_identifier(struct strbuf *out, const char *type, const char *id)
{
    strbuf_addf(out, "{\"type\":\"%s\",\"id\":\"%s\"}", type, id);
}

static void add_link(struct call *call, struct strbuf *out, const char *name, const char *path,
                     const char *id, const char *rest)
{
    strbuf_addf(out, "\"%s\":\"", name);
    page_add_base(out, call->request);
    strbuf_addf(out, "%s/%s%s/\"", path, id, rest);
}

static void add_self_link(struct call *call, struct strbuf *out, const char *path, const char *id)
{
    strbuf_add_str(out, "\"links\":{");
    add_link(call, out, "self", path, id, "");
    strbuf_add_str(out, "}}");
}

/* "name":{"links":{"self":…,"related":…}} */
static void add_relationship(struct call *call, struct strbuf *out, const char *path,
                             const char *id, const char *name)
{
    char related[64], self[64];

    (void)snprintf(related, sizeof related, "/%s", name);
    (void)snprintf(self, sizeof self, "/relationships/%s", name);
    strbuf_addf(out, "\"%s\":{\"links\":{", name);
    add_link(call, out, "self", path, id, self);
    strbuf_add_str(out, ",");
    add_link(call, out, "related", path, id, related);
    strbuf_add_str(out, "}}");
}

static void job_attributes(struct call *call, struct strbuf *out, const struct job *job)
{
    struct fieldset set = fieldset(call, out, "fields[profile-bulk-import-job]");
    enum job_state state = job_state(job, call->now_us);
    bool over = state == JOB_COMPLETE, ended = over || state == JOB_CANCELLED;
    size_t done = call->behaviour.completed_includes_failed ? job->total : job->total - job->failed;

    add_text(&set, "status", job_state_name(state));
    if (fieldset_member(&set, "created_at"))
        document_add_time(out, job->created_us,
                          call->operation == OP_IMPORT ? STAMPS_WHOLE : call->behaviour.timestamps);
    add_number(&set, "total_count", (int64_t)job->total);
    add_number(&set, "completed_count", over ? (int64_t)done : 0);
    add_number(&set, "failed_count", over ? (int64_t)job->failed : 0);
    add_time(call, &set, "completed_at", job->ends_us, ended);
    add_time(call, &set, "expires_at", job->created_us + WEEK_US, true);
    add_time(call, &set, "started_at", job->starts_us, state != JOB_QUEUED);
    strbuf_add_str(out, "}");
}

static void job_lists(struct call *call, struct strbuf *out, const struct job *job)
{
    strbuf_add_str(out, "\"lists\":{\"data\":[");
    for (size_t i = 0; i < job->n_lists; i++) {
        if (i > 0)
            strbuf_add_str(out, ",");
        resource_identifier(out, "list", job->lists[i]->id);
    }
    strbuf_add_str(out, "],\"links\":{");
    add_link(call, out, "self", JOBS, job->id, "/relationships/lists");
    strbuf_add_str(out, ",");
    add_link(call, out, "related", JOBS, job->id, "/lists");
    strbuf_add_str(out, "}}");
}

void resource_job(struct call *call, struct strbuf *out, const struct job *job)
{
    strbuf_addf(out, "{\"type\":\"profile-bulk-import-job\",\"id\":\"%s\",", job->id);
    job_attributes(call, out, job);
    strbuf_add_str(out, ",\"relationships\":{");
    job_lists(call, out, job);
    strbuf_add_str(out, ",");
    add_relationship(call, out, JOBS, job->id, "profiles");
    strbuf_add_str(out, ",\"import-errors\":{\"links\":{");
    add_link(call, out, "related", JOBS, job->id, "/import-errors");
    strbuf_add_str(out, "}}},");
    add_self_link(call, out, JOBS, job->id);
}

void resource_list(struct call *call, struct strbuf *out, const struct list *list, bool count)
{
    strbuf_addf(out, "{\"type\":\"list\",\"id\":\"%s\",", list->id);
    struct fieldset set = fieldset(call, out, "fields[list]");
    add_text(&set, "name", list->name);
    add_time(call, &set, "created", list->created_us, true);
    add_time(call, &set, "updated", list->updated_us, true);
    add_text(&set, "opt_in_process", list->opt_in);
    if (count)
        add_number(&set, "profile_count", (int64_t)list->members);
    strbuf_add_str(out, "},\"relationships\":{");
    add_relationship(call, out, "/api/lists", list->id, "profiles");
    strbuf_add_str(out, ",");
    add_relationship(call, out, "/api/lists", list->id, "tags");
    strbuf_add_str(out, ",");
    add_relationship(call, out, "/api/lists", list->id, "flow-triggers");
    strbuf_add_str(out, "},");
    add_self_link(call, out, "/api/lists", list->id);
}

/* As documented: each attribute may be null. */
void resource_flow(struct call *call, struct strbuf *out, const struct list *list,
                   const struct flow *flow)
{
    strbuf_addf(out, "{\"type\":\"flow\",\"id\":\"%s\",", flow->id);
    struct fieldset set = fieldset(call, out, "fields[flow]");
    add_text(&set, "name", flow->name);
    if (*flow->status)
        add_text(&set, "status", flow->status);
    else if (fieldset_member(&set, "status"))
        strbuf_add_str(out, "null");
    if (fieldset_member(&set, "archived"))
        strbuf_add_str(out, flow->archived ? "true" : "false");
    add_time(call, &set, "created", list->created_us, true);
    add_time(call, &set, "updated", list->updated_us, true);
    add_text(&set, "trigger_type", "Added to List");
    strbuf_add_str(out, "},\"relationships\":{");
    add_relationship(call, out, "/api/flows", flow->id, "flow-actions");
    strbuf_add_str(out, ",");
    add_relationship(call, out, "/api/flows", flow->id, "tags");
    strbuf_add_str(out, "},");
    add_self_link(call, out, "/api/flows", flow->id);
}

static void error_source(struct call *call, struct strbuf *out, const struct job_error *error)
{
    strbuf_add_str(out, "{\"pointer\":");
    if (call->behaviour.pointer_index && !error->problem.unidentified)
        document_add_pointer(out, &error->problem, ROW_POINTER);
    else
        document_add_string(out, "/data");
    strbuf_add_str(out, "}");
}

static void error_payload(struct call *call, struct strbuf *out, const struct job_error *error)
{
    if (error->problem.unidentified || call->behaviour.payload == PAYLOAD_NULL)
        strbuf_add_str(out, "null");
    else if (call->behaviour.payload == PAYLOAD_WRAPPED)
        strbuf_addf(out, "{\"type\":\"profile\",\"attributes\":%s}", error->payload);
    else
        strbuf_add_str(out, error->payload);
}

void resource_import_error(struct call *call, struct strbuf *out, const struct job_error *error)
{
    strbuf_addf(out, "{\"type\":\"import-error\",\"id\":\"%s\",", error->uuid);
    struct fieldset set = fieldset(call, out, "fields[import-error]");
    add_text(&set, "code", error->problem.code);
    add_text(&set, "title", "Invalid input.");
    add_text(&set, "detail", error->problem.detail);
    if (fieldset_member(&set, "source"))
        error_source(call, out, error);
    if (fieldset_member(&set, "original_payload"))
        error_payload(call, out, error);
    strbuf_add_str(out, "}}");
}

/* The stored value as it was sent, or what stands for an absent one. */
static void add_stored(struct fieldset *set, const char *name, struct attributes attributes,
                       const char *absent)
{
    struct attributes value = { .at = absent, .n = strlen(absent) };

    if (!fieldset_member(set, name))
        return;
    (void)!attributes_find(attributes, name, &value);
    strbuf_add(set->out, value.at, value.n);
}

static void profile_attributes(struct call *call, struct strbuf *out, struct account *account,
                               uint32_t number)
{
    static const char *const stored[] = { "first_name", "last_name", "organization",
                                          "locale",     "title",     "image" };
    struct fieldset set = fieldset(call, out, "fields[profile]");
    const struct profile *profile = &account->profiles.list[number];
    struct attributes attributes = profiles_attributes(&account->profiles, number);

    add_text(&set, "email", profile->email);
    add_text(&set, "phone_number", profile->phone);
    add_text(&set, "external_id", profile->external_id);
    add_text(&set, "anonymous_id", NULL);
    add_text(&set, "whatsapp_bsuid", NULL);
    for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++)
        add_stored(&set, stored[i], attributes, "null");
    add_time(call, &set, "created", profile->created_us, true);
    add_time(call, &set, "updated", profile->updated_us, true);
    add_time(call, &set, "last_event_date", 0, false);
    add_stored(&set, "location", attributes, "{}");
    add_stored(&set, "properties", attributes, "{}");
}

void resource_profile(struct call *call, struct strbuf *out, struct account *account,
                      uint32_t number, const struct list *list)
{
    char id[PROFILE_ID_BYTES];

    profiles_format_id(&account->profiles, number, id);
    strbuf_addf(out, "{\"type\":\"profile\",\"id\":\"%s\",", id);
    profile_attributes(call, out, account, number);
    if (list) {
        strbuf_add_str(out, out->data[out->len - 1] == '{' ? "" : ",");
        strbuf_add_str(out, "\"joined_group_at\":");
        document_add_time(out, (int64_t)list->joined_s[number] * 1000000, STAMPS_WHOLE);
    }
    strbuf_add_str(out, "},\"relationships\":{");
    add_relationship(call, out, "/api/profiles", id, "lists");
    strbuf_add_str(out, ",");
    add_relationship(call, out, "/api/profiles", id, "segments");
    strbuf_add_str(out, ",");
    add_relationship(call, out, "/api/profiles", id, "conversation");
    strbuf_add_str(out, "},");
    add_self_link(call, out, "/api/profiles", id);
}

void resource_account(struct call *call, struct strbuf *out, const struct account *account)
{
    strbuf_add_str(out, "{\"type\":\"account\",\"id\":");
    document_add_string(out, account->id);
    strbuf_add_str(out, ",\"attributes\":{\"test_account\":true,\"contact_information\":{"
                        "\"default_sender_name\":\"Example\","
                        "\"default_sender_email\":\"shop@shop.example\","
                        "\"website_url\":\"https://shop.example\",\"organization_name\":");
    document_add_string(out, account->organization_name);
    strbuf_add_str(out, ",\"street_address\":{\"address1\":null,\"address2\":null,\"city\":null,"
                        "\"region\":null,\"country\":null,\"zip\":null}},\"industry\":null,"
                        "\"timezone\":\"UTC\",\"preferred_currency\":\"EUR\",\"public_api_key\":");
    document_add_string(out, account->id);
    strbuf_add_str(out, ",\"locale\":\"en-US\"},");
    add_self_link(call, out, "/api/accounts", account->id);
}

static void add_usage(struct call *call, struct strbuf *out, const char *id, const char *unit,
                      int64_t used, int64_t max)
{
    int stamps = call->behaviour.timestamps;
    int64_t day = 86400 * INT64_C(1000000), today = call->now_us - call->now_us % day;

    strbuf_addf(out,
                "{\"type\":\"billing-usage\",\"id\":\"%s\",\"attributes\":{\"usage_used\":%" PRId64
                ",\"usage_max\":%" PRId64 ",\"unit\":\"%s\",\"period_start\":",
                id, used, max, unit);
    document_add_time(out, today - 10 * day, stamps);
    strbuf_add_str(out, ",\"period_end\":");
    document_add_time(out, today + 20 * day, stamps);
    strbuf_add_str(out, ",\"as_of\":");
    document_add_time(out, call->now_us, stamps);
    strbuf_add_str(out, "},");
    add_self_link(call, out, "/api/billing-usage", id);
}

/* Two rows, so that a client has to choose by unit. */
void resource_usage(struct call *call, struct strbuf *out, const struct account *account)
{
    add_usage(call, out, "sms", "credits", 12, 150);
    strbuf_add_str(out, ",");
    add_usage(call, out, "email", "profiles", account->usage_used, account->usage_max);
}
