#include "tests/simulator/reject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/address.h"
#include "tests/simulator/memory.h"

enum { ADDRESS_ROOM = 64 * 1024 };

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *normal_form(const char *text)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(ADDRESS_ROOM);

    address_normalise(text, strlen(text), &out);
    return memory_text(out.data ? out.data : "", out.len);
}

/* "email": one, or "emails": several. */
static bool read_emails(struct reject *reject, const json_t *rule, struct error *err)
{
    const json_t *emails = json_object_get(rule, "emails");
    const char *one = json_string_value(json_object_get(rule, "email"));

    reject->emails = memory_new((json_array_size(emails) + 1) * sizeof(char *));
    if (one)
        reject->emails[reject->n_emails++] = normal_form(one);
    for (size_t i = 0; i < json_array_size(emails); i++) {
        const char *text = json_string_value(json_array_get(emails, i));

        if (!text)
            return error_set(err, ERROR_INPUT, "emails must be strings");
        reject->emails[reject->n_emails++] = normal_form(text);
    }
    if (reject->n_emails)
        qsort(reject->emails, reject->n_emails, sizeof(char *), compare);
    return true;
}

static void reject_release(struct reject *reject)
{
    for (size_t i = 0; i < reject->n_emails; i++)
        free(reject->emails[i]);
    free(reject->emails);
    free(reject->prefix);
    free(reject->suffix);
}

static const char *text_or(const json_t *object, const char *name, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : fallback;
}

static void read_words(struct reject *reject, const json_t *rule)
{
    bool sync = strcmp(text_or(rule, "stage", "sync"), "sync") == 0;

    reject->stage = sync ? PLACE_SYNC : PLACE_IMPORT_ERROR;
    reject->names_row = strcmp(text_or(rule, "pointer", "row"), "none") != 0;
    reject->unnamed = json_is_true(json_object_get(rule, "unnamed"));
    reject->prefix = memory_string(text_or(rule, "prefix", NULL));
    reject->suffix = memory_string(text_or(rule, "suffix", NULL));
    (void)snprintf(reject->code, sizeof reject->code, "%s", text_or(rule, "code", "invalid"));
    (void)snprintf(reject->detail, sizeof reject->detail, "%s",
                   text_or(rule, "detail", "Invalid email address"));
}

bool rejects_add(struct rejects *rejects, const json_t *rule, struct error *err)
{
    CLEANUP(reject_release) struct reject reject = { 0 };

    if (!json_is_object(rule))
        return error_set(err, ERROR_INPUT, "a rule must be an object");
    if (!read_emails(&reject, rule, err))
        return false;
    read_words(&reject, rule);
    if (!reject.n_emails && !reject.prefix && !reject.suffix)
        return error_set(err, ERROR_INPUT, "a rule needs email, emails, prefix or suffix");

    rejects->list = memory_grow(rejects->list, &rejects->cap, rejects->n + 1, sizeof reject);
    rejects->list[rejects->n++] = reject;
    reject = (struct reject){ 0 };
    return true;
}

static bool applies(const struct reject *reject, const char *email)
{
    size_t n = strlen(email);
    size_t suffix = reject->suffix ? strlen(reject->suffix) : 0;

    if (reject->prefix && strncmp(email, reject->prefix, strlen(reject->prefix)) == 0)
        return true;
    if (reject->suffix && n >= suffix && strcmp(email + n - suffix, reject->suffix) == 0)
        return true;
    return reject->n_emails &&
           bsearch(&email, reject->emails, reject->n_emails, sizeof(char *), compare);
}

static void refuse(const struct reject *reject, struct import *import, size_t row)
{
    bool sync = reject->stage == PLACE_SYNC;
    bool names_row = reject->names_row || !sync;
    struct problem problem = { .row = names_row ? (int64_t)row : PROBLEM_NO_ROW,
                               .unidentified = !reject->names_row };

    (void)snprintf(problem.code, sizeof problem.code, "%s", reject->code);
    (void)snprintf(problem.detail, sizeof problem.detail, "%s", reject->detail);
    (void)snprintf(problem.pointer, sizeof problem.pointer, "%s",
                   names_row ? "attributes/email" : "/data");
    problems_add_copy(sync ? &import->problems : &import->failures, &problem);
}

/* The first rule for the row; NULL if none applies. */
static const struct reject *rule_for(const struct rejects *rejects, const struct import *import,
                                     size_t row)
{
    const char *email = import_text(import, import->rows[row].email);

    for (size_t i = 0; i < rejects->n; i++)
        if (applies(&rejects->list[i], email))
            return &rejects->list[i];
    return NULL;
}

void rejects_judge(const struct rejects *rejects, struct import *import)
{
    for (size_t row = 0; rejects->n > 0 && row < import->n; row++) {
        const struct reject *reject = rule_for(rejects, import, row);

        if (reject && !reject->unnamed)
            refuse(reject, import, row);
    }
}

bool rejects_silently(const struct rejects *rejects, const struct import *import, size_t row)
{
    const struct reject *reject = rule_for(rejects, import, row);

    return reject && reject->unnamed;
}

void rejects_release(struct rejects *rejects)
{
    for (size_t i = 0; i < rejects->n; i++)
        reject_release(&rejects->list[i]);
    free(rejects->list);
    *rejects = (struct rejects){ 0 };
}
