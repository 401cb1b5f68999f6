#include "tests/simulator/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/identity.h"
#include "tests/simulator/memory.h"

static void fault_release(struct fault *fault)
{
    free(fault->action.body);
    free(fault->action.content_type);
    json_decref(fault->action.headers);
    json_decref(fault->rule);
}

static void copy_text(char *out, size_t room, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    (void)snprintf(out, room, "%s", text ? text : "");
}

static int64_t number_or(const json_t *object, const char *name, int64_t fallback)
{
    const json_t *value = json_object_get(object, name);

    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

static const struct {
    const char *name;
    enum job_fate fate;
} fates[] = {
    { "cancelled", FATE_CANCELLED },
    { "stuck", FATE_STUCK },
    { "vanish", FATE_VANISH },
    { "fail_without_errors", FATE_FAIL_WITHOUT_ERRORS },
    { "errors_nameless", FATE_ERRORS_NAMELESS },
};

/* "job":"stuck", "job":{"fail_without_errors":3}, or "job":"fail_without_errors","n":3 */
static bool read_fate(struct fault_action *action, const json_t *object, struct error *err)
{
    const json_t *job = json_object_get(object, "job");
    const char *word = json_string_value(job);

    if (!job)
        return true;
    for (size_t i = 0; i < sizeof fates / sizeof fates[0]; i++) {
        int64_t rows = word ? number_or(object, "n", 1) : number_or(job, fates[i].name, -1);

        if (word ? strcmp(word, fates[i].name) != 0 : rows < 0)
            continue;
        action->fate = fates[i].fate;
        action->fate_rows = (uint32_t)rows;
        return true;
    }
    return error_set(err, ERROR_INPUT, "unknown job action");
}

static bool read_reset(struct fault_action *action, const json_t *object, struct error *err)
{
    const char *word = json_string_value(json_object_get(object, "reset"));

    if (!word)
        return true;
    if (strcmp(word, "before") != 0 && strcmp(word, "after") != 0)
        return error_set(err, ERROR_INPUT, "reset is \"before\" or \"after\"");
    action->reset = strcmp(word, "before") == 0 ? RESET_BEFORE : RESET_AFTER;
    return true;
}

static bool check_names(json_t *object, const char *const *known, size_t n, struct error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value) {
        size_t k = 0;

        while (k < n && strcmp(known[k], name) != 0)
            k++;
        if (k == n)
            return error_set(err, ERROR_INPUT, "unknown member %s", name);
    }
    return true;
}

static bool read_action(struct fault_action *action, json_t *object, struct error *err)
{
    static const char *const known[] = { "status",   "body",      "content_type", "headers",
                                         "throttle", "delay_ms",  "reset",        "html403",
                                         "truncate", "malformed", "job",          "n" };

    if (!json_is_object(object) || json_object_size(object) == 0)
        return error_set(err, ERROR_INPUT, "a fault needs an action");
    if (!check_names(object, known, sizeof known / sizeof known[0], err))
        return false;
    action->status = (int)number_or(object, "status", 0);
    action->body = memory_string(json_string_value(json_object_get(object, "body")));
    action->content_type =
        memory_string(json_string_value(json_object_get(object, "content_type")));
    action->headers = json_deep_copy(json_object_get(object, "headers"));
    action->throttle_s = (int)number_or(object, "throttle", 0);
    action->delay_ms = (int)number_or(object, "delay_ms", 0);
    action->html403 = json_is_true(json_object_get(object, "html403"));
    action->truncate = number_or(object, "truncate", -1);
    action->malformed = json_is_true(json_object_get(object, "malformed"));
    return read_reset(action, object, err) && read_fate(action, object, err);
}

static bool read_rule(struct fault *fault, json_t *rule, struct error *err)
{
    static const char *const known[] = { "method", "endpoint", "path_contains", "key",   "account",
                                         "skip",   "times",    "probability",   "action" };
    const json_t *probability = json_object_get(rule, "probability");

    if (!json_is_object(rule))
        return error_set(err, ERROR_INPUT, "a rule must be an object");
    if (!check_names(rule, known, sizeof known / sizeof known[0], err))
        return false;
    copy_text(fault->method, sizeof fault->method, rule, "method");
    copy_text(fault->endpoint, sizeof fault->endpoint, rule, "endpoint");
    copy_text(fault->path_contains, sizeof fault->path_contains, rule, "path_contains");
    copy_text(fault->key, sizeof fault->key, rule, "key");
    copy_text(fault->account, sizeof fault->account, rule, "account");
    fault->skip = number_or(rule, "skip", 0);
    fault->times = number_or(rule, "times", 1);
    fault->probability = probability ? json_number_value(probability) : 1.0;
    fault->rule = json_deep_copy(rule);
    return read_action(&fault->action, json_object_get(rule, "action"), err);
}

unsigned faults_add(struct faults *faults, json_t *rule, struct error *err)
{
    CLEANUP(fault_release) struct fault fault = { 0 };

    if (!read_rule(&fault, rule, err))
        return 0;
    fault.id = ++faults->last_id;
    faults->list = memory_grow(faults->list, &faults->cap, faults->n + 1, sizeof fault);
    faults->list[faults->n++] = fault;

    unsigned id = fault.id;
    fault = (struct fault){ 0 };
    return id;
}

static bool fits_text(const char *wanted, const char *text)
{
    return !*wanted || strcmp(wanted, text) == 0;
}

static bool fits(const struct fault *fault, const struct fault_subject *subject)
{
    return fits_text(fault->method, subject->method) &&
           fits_text(fault->endpoint, subject->endpoint) && fits_text(fault->key, subject->key) &&
           fits_text(fault->account, subject->account) &&
           strstr(subject->path, fault->path_contains);
}

static bool fires(struct fault *fault)
{
    if (fault->times >= 0 && fault->hits >= (uint64_t)fault->times)
        return false;
    fault->seen++;
    if (fault->seen <= (uint64_t)fault->skip || !identity_chance(fault->probability))
        return false;
    fault->hits++;
    return true;
}

const struct fault *faults_draw(struct faults *faults, const struct fault_subject *subject)
{
    for (size_t i = 0; i < faults->n; i++)
        if (fits(&faults->list[i], subject) && fires(&faults->list[i]))
            return &faults->list[i];
    return NULL;
}

void faults_give_back(struct faults *faults, unsigned id)
{
    for (size_t i = 0; i < faults->n; i++)
        if (faults->list[i].id == id && faults->list[i].hits > 0)
            faults->list[i].hits--;
}

json_t *faults_json(const struct faults *faults)
{
    json_t *list = json_array();

    for (size_t i = 0; i < faults->n; i++) {
        const struct fault *fault = &faults->list[i];
        json_t *entry = json_deep_copy(fault->rule);

        json_object_set_new(entry, "id", json_integer(fault->id));
        json_object_set_new(entry, "seen", json_integer((json_int_t)fault->seen));
        json_object_set_new(entry, "hits", json_integer((json_int_t)fault->hits));
        json_array_append_new(list, entry);
    }
    return json_pack("{s:o}", "faults", list);
}

void faults_release(struct faults *faults)
{
    for (size_t i = 0; i < faults->n; i++)
        fault_release(&faults->list[i]);
    free(faults->list);
    *faults = (struct faults){ .last_id = faults->last_id };
}
