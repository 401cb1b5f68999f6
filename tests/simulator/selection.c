#include "tests/simulator/selection.h"

#include <stdlib.h>
#include <string.h>

#include "common/parse.h"
#include "tests/simulator/address.h"
#include "tests/simulator/memory.h"
#include "tests/simulator/resource.h"

static int64_t sort_key(const struct selection *selection, uint32_t number)
{
    if (selection->order == ORDER_NUMBER || !selection->list)
        return 0;
    int64_t joined = selection->list->joined_s[number];
    return selection->order == ORDER_JOINED ? joined : -joined;
}

static bool names(const struct condition *condition, const char *text)
{
    return text && condition_names(condition, text);
}

static bool compare_joined(const struct condition *condition, int64_t joined_us)
{
    int64_t bound_us;
    const char *text = condition->values[0];

    if (!parse_rfc3339(text, strlen(text), &bound_us))
        return false;
    if (strcmp(condition->op, "greater-than") == 0)
        return joined_us > bound_us;
    if (strcmp(condition->op, "greater-or-equal") == 0)
        return joined_us >= bound_us;
    if (strcmp(condition->op, "less-than") == 0)
        return joined_us < bound_us;
    return joined_us <= bound_us;
}

static bool fits(const struct selection *selection, const struct condition *condition,
                 uint32_t number)
{
    const struct profile *profile = &selection->account->profiles.list[number];
    char id[PROFILE_ID_BYTES];

    if (selection->list && strcmp(condition->field, "joined_group_at") == 0)
        return compare_joined(condition, (int64_t)selection->list->joined_s[number] * 1000000);
    if (strcmp(condition->field, "email") == 0)
        return names(condition, profile->email);
    if (strcmp(condition->field, "external_id") == 0)
        return names(condition, profile->external_id);
    if (strcmp(condition->field, "phone_number") == 0)
        return names(condition, profile->phone);
    profiles_format_id(&selection->account->profiles, number, id);
    return names(condition, id);
}

static bool is_wanted(const struct selection *selection, uint32_t number)
{
    if (selection->list && !list_has(selection->list, number))
        return false;
    for (size_t i = 0; i < selection->filter->n; i++)
        if (!fits(selection, &selection->filter->conditions[i], number))
            return false;
    return true;
}

/* Puts one in its place among the first page.size + 1. */
static void insert(struct selection *selection, int64_t key, uint32_t number)
{
    size_t max = selection->page.size + 1, to = selection->n;

    while (to > 0 &&
           (selection->found[to - 1].key > key ||
            (selection->found[to - 1].key == key && selection->found[to - 1].number > number)))
        to--;
    if (to == max || (to > 0 && selection->found[to - 1].key == key &&
                      selection->found[to - 1].number == number))
        return;
    size_t behind = selection->n - to - (selection->n == max);
    memmove(&selection->found[to + 1], &selection->found[to], behind * sizeof selection->found[0]);
    selection->found[to].key = key;
    selection->found[to].number = number;
    if (selection->n < max)
        selection->n++;
}

static void offer(struct selection *selection, uint32_t number)
{
    if (number == PROFILE_NONE || !is_wanted(selection, number))
        return;
    int64_t key = sort_key(selection, number);
    if (page_is_ahead(&selection->page, key, number))
        insert(selection, key, number);
}

static void note_more(struct selection *selection)
{
    selection->more = selection->n > selection->page.size;
    if (selection->more)
        selection->n = selection->page.size;
}

static uint32_t named(const struct selection *selection, const struct condition *condition,
                      const char *value)
{
    const struct profiles *profiles = &selection->account->profiles;

    if (strcmp(condition->field, "email") == 0)
        return profiles_by_email(profiles, value, strlen(value));
    if (strcmp(condition->field, "external_id") == 0)
        return profiles_by_external_id(profiles, value, strlen(value));
    return profiles_by_id(profiles, value, strlen(value));
}

/* A condition whose values can be looked up, so that not everyone must be asked. */
static const struct condition *by_name(const struct filter *filter)
{
    for (size_t i = 0; i < filter->n; i++) {
        const char *field = filter->conditions[i].field;

        if (strcmp(field, "email") == 0 || strcmp(field, "id") == 0 ||
            strcmp(field, "external_id") == 0)
            return &filter->conditions[i];
    }
    return NULL;
}

/* In order of the numbers the page is full as soon as there are enough. */
static void offer_everyone(struct selection *selection)
{
    uint32_t first = 0;

    if (selection->order == ORDER_NUMBER && selection->page.begun && selection->page.number >= 0)
        first = (uint32_t)selection->page.number;
    for (uint32_t i = first; i < selection->account->profiles.n; i++) {
        offer(selection, i);
        if (selection->order == ORDER_NUMBER && selection->n > selection->page.size)
            return;
    }
}

void selection_pick(struct selection *selection)
{
    const struct condition *condition = by_name(selection->filter);

    if (condition)
        for (size_t i = 0; i < condition->n; i++)
            offer(selection, named(selection, condition, condition->values[i]));
    else
        offer_everyone(selection);
    note_more(selection);
}

void selection_pick_among(struct selection *selection, const uint32_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        offer(selection, numbers[i]);
    note_more(selection);
}

static void add_one(struct selection *selection, struct call *call, size_t i, bool ids_only)
{
    struct strbuf *out = &call->answer->body;
    char id[PROFILE_ID_BYTES];
    uint32_t number = selection->found[i].number;

    if (i > 0)
        strbuf_add_str(out, ",");
    if (!ids_only) {
        resource_profile(call, out, selection->account, number, selection->list);
        return;
    }
    profiles_format_id(&selection->account->profiles, number, id);
    resource_identifier(out, "profile", id);
}

void selection_answer(struct selection *selection, struct call *call, bool ids_only)
{
    struct strbuf *out = answer_document(call->answer, 200);
    size_t last = selection->n ? selection->n - 1 : 0;

    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = 0; i < selection->n; i++)
        add_one(selection, call, i, ids_only);
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, selection->more, selection->found[last].key,
                   selection->found[last].number);
    strbuf_add_str(out, "}");
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(*words, text) == 0)
            return true;
    return false;
}

static bool is_allowed(const struct selection *selection, const struct condition *condition)
{
    static const char *const by_value[] = { "any", "equals", NULL };
    static const char *const by_time[] = { "greater-or-equal", "greater-than", "less-or-equal",
                                           "less-than", NULL };
    static const char *const fields[] = { "email", "id", "external_id", "phone_number", NULL };

    if (strcmp(condition->op, "equals") == 0 && condition->n != 1)
        return false;
    if (selection->list && strcmp(condition->field, "joined_group_at") == 0)
        return is_one_of(condition->op, by_time);
    return is_one_of(condition->field, fields) && is_one_of(condition->op, by_value);
}

/* An address is compared in its normal form. */
static void normalise_values(struct condition *condition)
{
    for (size_t i = 0; i < condition->n; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(4096);

        address_normalise(condition->values[i], strlen(condition->values[i]), &out);
        free(condition->values[i]);
        condition->values[i] = memory_text(out.data ? out.data : "", out.len);
    }
}

static bool check_filter(struct selection *selection, struct call *call, struct filter *filter)
{
    for (size_t i = 0; i < filter->n; i++) {
        struct condition *condition = &filter->conditions[i];

        if (!is_allowed(selection, condition)) {
            answer_bad_parameter(call->answer, "filter",
                                 "'%s' is not an allowed filter operator for %s.", condition->op,
                                 condition->field);
            return false;
        }
        if (strcmp(condition->field, "email") == 0)
            normalise_values(condition);
    }
    return true;
}

bool selection_parse(struct selection *selection, struct call *call, struct filter *filter)
{
    struct page_limits limits = { .fallback = 20, .max = SELECTION_MAX };
    const char *text = request_arg(call->request, "filter");
    struct error err = ERROR_INIT;

    if (!page_parse(&selection->page, call->request, limits, call->answer))
        return false;
    if (text && !filter_parse(filter, text, &err)) {
        answer_bad_parameter(call->answer, "filter", "%s", err.text);
        return false;
    }
    selection->filter = filter;
    return check_filter(selection, call, filter);
}
