#include "worker/export/removal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "worker/export/address.h"

enum {
    FILTER_MAX_BYTES = 2 * PROFILE_LOOKUP_MAX_BYTES,
    BODY_MAX_BYTES = 1024 * 1024, /* 1,000 ids of 128 characters and what is around them */
    CLAIM_PAUSE_MIN_MS = 500,
    CLAIM_PAUSE_MAX_MS = 5000, /* chosen: long enough to give the slot back meanwhile */
};

void removal_init(struct removal *removal, const char *list_id, bool was_busy)
{
    *removal = (struct removal){
        .list_id = list_id,
        .claim_pause_ms = was_busy ? CLAIM_PAUSE_MAX_MS : CLAIM_PAUSE_MIN_MS,
        .remove = { .pending = { .kind = PENDING_REMOVAL, .endpoint = ENDPOINT_LIST_REMOVE } },
        .filter = STRBUF_INIT(FILTER_MAX_BYTES),
        .body = STRBUF_INIT(BODY_MAX_BYTES),
    };
    for (unsigned i = 0; i < REMOVAL_LOOKUPS; i++)
        removal->lookups[i].pending = (struct pending_request){ .kind = PENDING_LOOKUP,
                                                                .which = i,
                                                                .endpoint = ENDPOINT_PROFILES };
}

static void clear_chunk(struct removal *r)
{
    leaver_chunk_release(&r->leavers);
    r->n_found = r->ranges.n = 0;
}

void removal_release(struct removal *removal)
{
    clear_chunk(removal);
    free(removal->found);
    free(removal->ranges.range);
    free(removal->after);
    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        free(removal->lookups[i].next);
    strbuf_release(&removal->filter);
    strbuf_release(&removal->body);
}

void removal_decide(struct removal *removal, const struct removal_figures *figures,
                    const char *export_name, const char *connection_name)
{
    assert(removal->step == REMOVAL_UNDECIDED);
    switch (removal_judge(figures, export_name, connection_name, removal->detail)) {
    case REMOVAL_ALLOWED:
        removal->step = REMOVAL_CLAIM;
        return;
    case REMOVAL_WITHHELD:
        removal->withheld = true;
        break;
    case REMOVAL_NOTHING:
        break;
    }
    removal->step = REMOVAL_OVER;
}

bool removal_is_over(const struct removal *removal)
{
    return removal->step == REMOVAL_OVER;
}

/* ---- ranges ---- */

static bool push(struct removal *r, size_t from, size_t n, struct error *err)
{
    struct removal_ranges *ranges = &r->ranges;
    struct removal_range *range = array_grow(ranges->range, ranges->n, &ranges->cap, sizeof *range);

    if (!range)
        return error_no_memory(err);
    ranges->range = range;
    ranges->range[ranges->n++] = (struct removal_range){ from, n };
    return true;
}

/* The first of them is done first. */
static bool push_all(struct removal *r, size_t n, size_t each, struct error *err)
{
    for (size_t begin = (n + each - 1) / each * each; begin > 0; begin -= each) {
        size_t from = begin - each;

        if (!push(r, from, n - from < each ? n - from : each, err))
            return false;
    }
    return true;
}

/* ---- requests ---- */

/* As many of its addresses as fit; what does not goes to another look-up. */
static size_t fill_filter(struct removal *r, struct removal_range range)
{
    size_t n = 0;

    profile_lookup_begin(&r->filter);
    while (n < range.n && profile_lookup_add(&r->filter, r->leavers.items[range.from + n].address))
        n++;
    profile_lookup_end(&r->filter);
    return n;
}

static void want_send(struct effect *effect, struct removal_request *of,
                      const struct request *request)
{
    *effect = (struct effect){ .kind = EFFECT_SEND,
                               .pending = &of->pending,
                               .endpoint = of->pending.endpoint,
                               .request = *request };
}

static void take_range(struct removal *r, struct removal_request *of)
{
    of->range = r->ranges.range[--r->ranges.n];
    of->pending.due_ms = 0;
    of->pending.attempts = 0;
}

/* There is room for one more: the entry itself was taken out. */
static void give_rest_back(struct removal *r, struct removal_request *of, size_t n)
{
    struct removal_range rest = { of->range.from + n, of->range.n - n };

    if (rest.n == 0)
        return;
    assert(r->ranges.n < r->ranges.cap);
    r->ranges.range[r->ranges.n++] = rest;
    of->range.n = n;
}

static bool send_lookup(struct removal *r, struct removal_request *lookup,
                        const struct request_schedule *schedule, int64_t now_ms,
                        struct effect *effect)
{
    bool is_new = lookup->range.n == 0;

    if (is_new && r->ranges.n > 0)
        take_range(r, lookup);
    if (lookup->range.n == 0 || !request_schedule_may_start(schedule, &lookup->pending, now_ms))
        return false;
    size_t n = fill_filter(r, lookup->range);
    if (!lookup->next)
        give_rest_back(r, lookup, n);
    struct request request = profile_lookup_request(r->filter.data, lookup->next);
    want_send(effect, lookup, &request);
    return true;
}

static void fill_body(struct removal *r, struct removal_range range)
{
    list_removal_begin(&r->body);
    for (size_t i = 0; i < range.n; i++)
        list_removal_add(&r->body, r->found[range.from + i].id);
    list_removal_end(&r->body);
}

static bool send_removal(struct removal *r, const struct request_schedule *schedule, int64_t now_ms,
                         struct effect *effect)
{
    struct removal_request *remove = &r->remove;

    if (remove->range.n == 0)
        take_range(r, remove);
    if (r->waits_for_list || !request_schedule_may_start(schedule, &remove->pending, now_ms))
        return false;
    fill_body(r, remove->range);
    struct request request = list_removal_request(r->list_id, &r->body);
    want_send(effect, remove, &request);
    return true;
}

/* ---- effects ---- */

static bool any_lookup(const struct removal *r)
{
    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        if (r->lookups[i].range.n > 0)
            return true;
    return r->ranges.n > 0;
}

static bool next_lookup(struct removal *r, const struct request_schedule *schedule, int64_t now_ms,
                        struct effect *effect)
{
    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        if (send_lookup(r, &r->lookups[i], schedule, now_ms, effect))
            return true;
    return false;
}

static bool next_claim(const struct removal *r, int64_t now_ms, struct effect *effect)
{
    *effect = (struct effect){ .kind = EFFECT_CLAIM_LIST };
    return now_ms >= r->claim_due_ms;
}

bool removal_next(struct removal *removal, const struct request_schedule *schedule, int64_t now_ms,
                  struct effect *effect)
{
    if (schedule->draining)
        return false;
    switch (removal->step) {
    case REMOVAL_UNDECIDED:
    case REMOVAL_OVER:
        return false;
    case REMOVAL_CLAIM:
        return next_claim(removal, now_ms, effect);
    case REMOVAL_RELEASE:
        *effect = (struct effect){ .kind = EFFECT_RELEASE_HELD,
                                   .after = removal->after,
                                   .max = REMOVAL_RELEASE_MAX };
        return true;
    case REMOVAL_FETCH:
        *effect = (struct effect){ .kind = EFFECT_FETCH_LEAVERS,
                                   .after = removal->after,
                                   .max = LIST_REMOVAL_MAX };
        return true;
    case REMOVAL_LOOK_UP:
        return next_lookup(removal, schedule, now_ms, effect);
    case REMOVAL_REMOVE:
        return send_removal(removal, schedule, now_ms, effect);
    case REMOVAL_FORGET:
        break;
    }
    *effect = (struct effect){ .kind = EFFECT_FORGET_LEAVERS, .leavers = &removal->leavers };
    return true;
}

/* ---- what became of an effect ---- */

static void claimed(struct removal *r, enum list_claim claim, int64_t now_ms)
{
    if (!r->list_busy)
        r->busy_since_ms = now_ms;
    r->list_busy = claim == LIST_CLAIM_BUSY;
    switch (claim) {
    case LIST_CLAIM_BUSY:
        r->claim_due_ms = now_ms + r->claim_pause_ms;
        r->claim_pause_ms *= 4;
        if (r->claim_pause_ms > CLAIM_PAUSE_MAX_MS)
            r->claim_pause_ms = CLAIM_PAUSE_MAX_MS;
        return;
    case LIST_CLAIM_SHARED:
        r->step = REMOVAL_RELEASE;
        return;
    case LIST_CLAIM_ALONE:
        break;
    }
    r->step = REMOVAL_FETCH;
}

static void released(struct removal *r, struct effect_result *result)
{
    free(r->after);
    r->after = result->last;
    result->last = NULL;
    if (!r->after)
        r->step = REMOVAL_FETCH;
}

static bool fetched(struct removal *r, struct effect_result *result, struct error *err)
{
    r->leavers = result->leavers;
    result->leavers = (struct leaver_chunk){ .n = 0 };
    if (r->leavers.n == 0) {
        r->step = REMOVAL_OVER;
        return true;
    }
    free(r->after);
    r->after = strdup(r->leavers.items[r->leavers.n - 1].address);
    if (!r->after)
        return error_no_memory(err);
    r->step = REMOVAL_LOOK_UP;
    return push_all(r, r->leavers.n, PROFILE_LOOKUP_MAX, err);
}

static void forgotten(struct removal *r)
{
    r->step = r->leavers.n < LIST_REMOVAL_MAX ? REMOVAL_OVER : REMOVAL_FETCH;
    clear_chunk(r);
}

bool removal_performed(struct removal *removal, const struct effect *effect,
                       struct effect_result *result, int64_t now_ms, struct error *err)
{
    switch (effect->kind) {
    case EFFECT_CLAIM_LIST:
        claimed(removal, result->claim, now_ms);
        return true;
    case EFFECT_RELEASE_HELD:
        released(removal, result);
        return true;
    case EFFECT_FETCH_LEAVERS:
        return fetched(removal, result, err);
    case EFFECT_FORGET_LEAVERS:
        forgotten(removal);
        return true;
    case EFFECT_MARK_SENT:
    case EFFECT_RESEND:
    case EFFECT_SETTLE_LATE_JOB:
    case EFFECT_LEAVE_LATE_JOB:
    case EFFECT_CONFIRM:
    case EFFECT_SPLIT:
    case EFFECT_BLOCK_ACCOUNT:
    case EFFECT_STORE_LIST_NAME:
    case EFFECT_GIVE_UP_LISTING:
    case EFFECT_KEEP_WORDS:
    case EFFECT_FETCH_PLANNED:
    case EFFECT_LOAD_BODY:
    case EFFECT_SEND:
    case EFFECT_NONE:
    case EFFECT_FAIL:
    case EFFECT_DONE:
        break;
    }
    assert(false && "such an effect is not the removal's");
    abort();
}

/* ---- responses ---- */

static bool is_removal(const struct removal_request *request)
{
    return request->pending.kind == PENDING_REMOVAL;
}

static void finish_request(struct removal_request *request)
{
    free(request->next);
    request->next = NULL;
    request->range.n = 0;
    request->pages = 0;
}

static bool go_to_remove(struct removal *r, struct error *err)
{
    if (any_lookup(r))
        return true;
    r->step = r->n_found > 0 ? REMOVAL_REMOVE : REMOVAL_FORGET;
    return push_all(r, r->n_found, LIST_REMOVAL_MAX, err);
}

static void go_to_forget(struct removal *r)
{
    if (r->remove.range.n == 0 && r->ranges.n == 0)
        r->step = REMOVAL_FORGET;
}

/* The leaver with that address, among those of the look-up; leavers.n: none. */
static size_t leaver_of(const struct removal *r, struct removal_range range, const char *email)
{
    for (size_t i = range.from; i < range.from + range.n; i++)
        if (address_is_same(email, r->leavers.items[i].address))
            return i;
    return r->leavers.n;
}

/*
 * A profile under another address than was asked for is a person whom this export did not put
 * on the list under that address.
 */
static bool note_found(struct removal *r, struct removal_range range,
                       const struct found_profile *profile, struct error *err)
{
    size_t leaver = leaver_of(r, range, profile->email);

    if (leaver == r->leavers.n || r->leavers.items[leaver].found)
        return true;
    struct removal_found *found = array_grow(r->found, r->n_found, &r->cap_found, sizeof *found);
    if (!found)
        return error_no_memory(err);
    r->found = found;
    found = &r->found[r->n_found++];
    found->leaver = leaver;
    (void)snprintf(found->id, sizeof found->id, "%s", profile->id);
    r->leavers.items[leaver].found = true;
    return true;
}

static bool read_page(struct removal *r, struct removal_request *lookup,
                      const struct profile_page *page, struct error *err)
{
    for (size_t i = 0; i < page->n; i++)
        if (!note_found(r, lookup->range, &page->profiles[i], err))
            return false;
    bool more = page->next && ++lookup->pages < PROFILE_LOOKUP_MAX;
    char *next = more ? strdup(page->next) : NULL;
    if (more && !next)
        return error_no_memory(err);
    free(lookup->next);
    lookup->next = next;
    lookup->pending.attempts = 0;
    lookup->pending.due_ms = 0;
    if (next)
        return true;
    finish_request(lookup);
    return go_to_remove(r, err);
}

static bool lookup_response(struct removal *r, struct removal_request *lookup,
                            struct request_schedule *schedule, const struct delivery_reply *reply,
                            struct error *err)
{
    struct profile_page page = PROFILE_PAGE_INIT;
    struct error malformed = ERROR_INIT;

    if (!profile_page_parse(reply->response, &page, &malformed)) {
        request_schedule_unread(schedule, &lookup->pending, reply->now_ms, &malformed);
        return true;
    }
    bool ok = read_page(r, lookup, &page, err);
    profile_page_release(&page);
    return ok;
}

static void keep(struct removal *r, const struct removal_request *request)
{
    size_t at = request->range.from;

    r->leavers.items[is_removal(request) ? r->found[at].leaver : at].kept = true;
}

/*
 * What Klaviyo answers where it is asked to take somebody off who is not on the list, by hand or
 * by another program, is not documented: all that it may be says that they are off.
 */
static bool says_absent(const struct verdict *verdict)
{
    return verdict->status == 404 || verdict->status == 409;
}

/*
 * Two halves instead of the whole. Who is refused alone is kept, unless the removal says that
 * they are not there.
 */
static bool refused(struct removal *r, struct removal_request *request,
                    const struct verdict *verdict, struct error *err)
{
    struct removal_range range = request->range;
    size_t half = (range.n + 1) / 2;
    bool is_off = is_removal(request) && says_absent(verdict);

    if (range.n == 1 && !is_off)
        keep(r, request);
    if (range.n > 1 &&
        (!push(r, range.from + half, range.n - half, err) || !push(r, range.from, half, err)))
        return false;
    finish_request(request);
    if (!is_removal(request))
        return go_to_remove(r, err);
    go_to_forget(r);
    return true;
}

static bool is_refusal(enum verdict_action action)
{
    return action == VERDICT_BATCH_REFUSED || action == VERDICT_TOO_LARGE || action == VERDICT_GONE;
}

static struct removal_request *request_of(struct removal *r, const struct pending_request *pending)
{
    if (pending->kind == PENDING_REMOVAL)
        return &r->remove;
    assert(pending->kind == PENDING_LOOKUP);
    return &r->lookups[pending->which];
}

bool removal_response(struct removal *removal, struct request_schedule *schedule,
                      const struct delivery_reply *reply, struct error *err)
{
    struct removal_request *request = request_of(removal, reply->pending);

    if (is_refusal(reply->verdict->action)) {
        /* Was it the list that it did not find? */
        removal->waits_for_list = is_removal(request) && !removal->list_checked;
        return removal->waits_for_list || refused(removal, request, reply->verdict, err);
    }
    if (!is_removal(request))
        return lookup_response(removal, request, schedule, reply, err);
    finish_request(request);
    go_to_forget(removal);
    return true;
}

bool removal_wants_list(const struct removal *removal)
{
    return removal->waits_for_list;
}

/* It was not the list: the request is made once more, and halved if it is refused again. */
void removal_list_is_there(struct removal *removal)
{
    removal->list_checked = removal->list_checked || removal->waits_for_list;
    removal->waits_for_list = false;
}

/* ---- its state ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t lookups_due_ms(const struct removal *r, const struct request_schedule *schedule)
{
    int64_t due = REQUEST_SCHEDULE_NEVER;

    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        if (r->lookups[i].range.n > 0 || r->ranges.n > 0)
            due = earlier(due, request_schedule_due_ms(schedule, &r->lookups[i].pending));
    return due;
}

int64_t removal_due_ms(const struct removal *removal, const struct request_schedule *schedule,
                       int64_t now_ms)
{
    switch (removal->step) {
    case REMOVAL_UNDECIDED:
    case REMOVAL_OVER:
        return REQUEST_SCHEDULE_NEVER;
    case REMOVAL_CLAIM:
        return removal->claim_due_ms;
    case REMOVAL_RELEASE:
    case REMOVAL_FETCH:
    case REMOVAL_FORGET:
        return now_ms;
    case REMOVAL_LOOK_UP:
        return lookups_due_ms(removal, schedule);
    case REMOVAL_REMOVE:
        break;
    }
    return removal->waits_for_list || now_ms >= schedule->imports_until_ms
               ? REQUEST_SCHEDULE_NEVER
               : request_schedule_due_ms(schedule, &removal->remove.pending);
}

static bool is_limited(const struct removal_request *request,
                       const struct request_schedule *schedule, int64_t due_ms)
{
    return request->range.n > 0 && request->pending.limited &&
           request_schedule_due_ms(schedule, &request->pending) == due_ms;
}

bool removal_is_limited(const struct removal *removal, const struct request_schedule *schedule,
                        int64_t due_ms)
{
    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        if (is_limited(&removal->lookups[i], schedule, due_ms))
            return true;
    return is_limited(&removal->remove, schedule, due_ms);
}

unsigned removal_endpoints(const struct removal *removal)
{
    if (removal->step == REMOVAL_LOOK_UP)
        return ENDPOINT_BIT(ENDPOINT_PROFILES);
    return removal->step == REMOVAL_REMOVE ? ENDPOINT_BIT(ENDPOINT_LIST_REMOVE) : 0;
}

unsigned removal_attempts(const struct removal *removal)
{
    unsigned most = removal->remove.pending.attempts;

    for (size_t i = 0; i < REMOVAL_LOOKUPS; i++)
        if (removal->lookups[i].pending.attempts > most)
            most = removal->lookups[i].pending.attempts;
    return most;
}
