#include "worker/export/time_left.h"

#include <string.h>

#include "common/parse.h"
#include "worker/export/effect.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/store/run_state.h"

enum {
    SECOND_MS = 1000,
    MINUTE_MS = 60 * SECOND_MS,
    SECOND_US = 1000 * SECOND_MS,
    PLACES_MAX = 1000,     /* more than any limit of Klaviyo has */
    IMPORTS_MAX = 1000000, /* beyond, the time is no less than for this many */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- the facts ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *name)
{
    return most(json_integer_value(json_object_get(object, name)), 0);
}

static int64_t until_ms(const json_t *object, const char *name, int64_t now_us)
{
    const char *text = text_of(object, name);
    int64_t at_us;

    return parse_rfc3339(text, strlen(text), &at_us) ? most((at_us - now_us) / 1000, 0) : 0;
}

/* When something unreachable comes back is not known; the end of a wait for a limit is. */
static bool waits_for_who_is_away(const json_t *run)
{
    const char *reason = text_of(run, "reason");

    return strcmp(text_of(run, "state"), run_state_name(RUN_WAITING)) == 0 &&
           strcmp(reason, run_reason_name(REASON_RATE_LIMITED)) != 0;
}

bool time_left_read(const json_t *run, const json_t *outlook, int64_t now_us,
                    struct time_left_facts *facts)
{
    if (!json_is_object(outlook) || waits_for_who_is_away(run))
        return false;
    *facts = (struct time_left_facts){ .planned = number_of(outlook, "planned"),
                                       .sent = number_of(outlook, "sent"),
                                       .job_ms = number_of(outlook, "job_ms"),
                                       .others = number_of(outlook, "others"),
                                       .percent = number_of(outlook, "percent"),
                                       .used = number_of(outlook, "used"),
                                       .blocked_ms = until_ms(outlook, "blocked_until", now_us),
                                       .waiting_ms = until_ms(run, "waiting_until", now_us) };
    return true;
}

/* ---- the arithmetic ---- */

static int64_t ours(int limit, const struct time_left_facts *facts)
{
    return most(limit * facts->percent / 100, 1);
}

/* When each permit of a window is free again, in milliseconds from now; the earliest is next. */
struct places {
    int64_t free_ms[PLACES_MAX];
    size_t n, next;
};

/* Permits in use; they are free again one after the other within the window. */
static void places_init(struct places *places, int64_t n, int64_t used, int64_t window_ms)
{
    int64_t size = least(n, PLACES_MAX), busy = least(used, size);

    places->n = (size_t)size;
    places->next = 0;
    for (int64_t i = 0; i < size; i++) {
        int64_t nth = i - (size - busy) + 1;
        places->free_ms[i] = busy > 0 && nth > 0 ? window_ms * nth / busy : 0;
    }
}

static int64_t places_free_ms(const struct places *places)
{
    return places->free_ms[places->next];
}

static void places_take(struct places *places, int64_t until_ms)
{
    places->free_ms[places->next] = until_ms;
    places->next = (places->next + 1) % places->n;
}

/* Until the limit has let the last of them through; what is used ages while a block lasts. */
static int64_t limited_ms(const struct time_left_facts *facts)
{
    struct endpoint_limit limit = endpoint_limit(ENDPOINT_IMPORT);
    struct places second, minute;
    int64_t at_ms = 0, n = least(facts->planned + facts->others, IMPORTS_MAX);

    places_init(&second, ours(limit.per_second, facts), 0, SECOND_MS);
    places_init(&minute, ours(limit.per_minute, facts), facts->used, MINUTE_MS);
    for (int64_t i = 0; i < n; i++) {
        at_ms =
            most(at_ms, most(places_free_ms(&second), places_free_ms(&minute) - facts->blocked_ms));
        places_take(&second, at_ms + SECOND_MS);
        places_take(&minute, at_ms + MINUTE_MS + facts->blocked_ms);
    }
    return at_ms;
}

/* Until n have been in flight, of which few are at any time. */
static int64_t in_flight_ms(const struct time_left_facts *facts)
{
    int64_t n = facts->planned + facts->sent;

    return (n + DELIVERY_IMPORTS_MAX - 1) / DELIVERY_IMPORTS_MAX * facts->job_ms;
}

int64_t time_left_ms(const struct time_left_facts *facts)
{
    if (facts->job_ms == 0 || facts->planned + facts->sent == 0)
        return 0;
    int64_t ms = in_flight_ms(facts);
    if (facts->planned > 0) /* no limit applies to what is at Klaviyo already */
        ms = facts->blocked_ms + most(limited_ms(facts) + facts->job_ms, ms);
    return most(ms, facts->waiting_ms);
}

/* ---- what is shown ---- */

static bool may_be_later(const struct time_left *told, const struct time_left *now, int64_t now_us)
{
    return told->end_us <= now_us || now->waiting_until_us > told->end_us ||
           now->work > told->work || now->others > told->others || now->percent < told->percent ||
           now->blocked_until_us > told->blocked_until_us + SECOND_US; /* it is read in ms */
}

/* 0: it is over. */
static int64_t until_us(int64_t ms, int64_t now_us)
{
    return ms > 0 ? now_us + ms * 1000 : 0;
}

void time_left_update(struct time_left *left, const struct time_left_facts *facts, int64_t now_us)
{
    int64_t ms = facts ? time_left_ms(facts) : 0;

    if (ms == 0) {
        *left = (struct time_left){ .end_us = 0 };
        return;
    }
    struct time_left now = { .end_us = now_us + ms * 1000,
                             .work = facts->planned + facts->sent,
                             .others = facts->others,
                             .percent = facts->percent,
                             .blocked_until_us = until_us(facts->blocked_ms, now_us),
                             .waiting_until_us = until_us(facts->waiting_ms, now_us) };
    if (!may_be_later(left, &now, now_us))
        now.end_us = least(now.end_us, left->end_us);
    *left = now;
}

int64_t time_left_seconds(const struct time_left *left, int64_t now_us)
{
    return left->end_us > now_us ? (left->end_us - now_us + SECOND_US - 1) / SECOND_US : 0;
}
