#include "worker/export/delivery_wait.h"

enum {
    PARK_MIN_MS = 3000,    /* chosen: less is not worth taking the run again */
    IN_VAIN_MS = 2000,     /* in vain for this long: reported within 5 s of the first (contract) */
    PARK_IN_VAIN_MS = 500, /* chosen: unless it has been in vain for long */
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/*
 * Nothing of the import is due: a response or a longer lease must come first, or the listing
 * is its poll, too.
 */
static bool waits_for_other(const struct delivery *d, const struct batch_import *import,
                            int64_t now_ms, bool listed)
{
    switch (import->step) {
    case IMPORT_POST:
        return import->waits_for_list || now_ms >= d->schedule.imports_until_ms ||
               delivery_posting(d) >= DELIVERY_IMPORTS_MAX ||
               !import_set_has_room_for(&d->imports, import);
    case IMPORT_POLL:
        return !import->poll_alone && listed;
    case IMPORT_ERRORS:
        return !import_set_has_room_for(&d->imports, import);
    case IMPORT_OVER:
        break;
    }
    return true;
}

int64_t delivery_due_ms(const struct delivery *delivery, int64_t now_ms)
{
    int64_t due = REQUEST_SCHEDULE_NEVER, listing_ms;
    bool listed;

    if (delivery->schedule.draining)
        return due;
    due = questions_due_ms(&delivery->questions, &delivery->schedule);
    listed = job_polls_are_common(&delivery->polls, &delivery->imports, &delivery->schedule, now_ms,
                                  &listing_ms);
    if (listed)
        due = earlier(due, listing_ms);
    if (delivery->list_state == LIST_WANTED && delivery->may_deliver)
        due = earlier(due, request_schedule_due_ms(&delivery->schedule, &delivery->list));
    for (size_t i = 0; i < delivery->imports.n; i++)
        if (!waits_for_other(delivery, delivery->imports.import[i], now_ms, listed))
            due = earlier(due, request_schedule_due_ms(&delivery->schedule,
                                                       &delivery->imports.import[i]->request));
    if (delivery_imports_are_over(delivery))
        due = earlier(due, removal_due_ms(&delivery->removal, &delivery->schedule, now_ms));
    return due;
}

/* When it can continue, if it waits for nothing but time; 0: not known. */
static int64_t until_ms(const struct delivery *d, int64_t now_ms)
{
    int64_t due = delivery_due_ms(d, now_ms);

    return d->schedule.n_in_flight == 0 && due < REQUEST_SCHEDULE_NEVER && due > now_ms ? due : 0;
}

/* Endpoints without which it cannot continue: a set. */
static unsigned needed_endpoints(const struct delivery *d)
{
    unsigned set = questions_endpoints(&d->questions);

    if (delivery_needs_list(d))
        set |= ENDPOINT_BIT(ENDPOINT_LIST);
    for (size_t i = 0; i < d->imports.n; i++)
        if (!d->imports.import[i]->waits_for_list)
            set |= ENDPOINT_BIT(d->imports.import[i]->request.endpoint);
    return delivery_imports_are_over(d) ? set | removal_endpoints(&d->removal) : set;
}

/* The request that is due next is made again because of a limit. */
static bool next_is_limited(const struct delivery *d, int64_t due_ms)
{
    for (size_t i = 0; i < d->imports.n; i++) {
        const struct pending_request *request = &d->imports.import[i]->request;

        if (request->limited && request_schedule_due_ms(&d->schedule, request) == due_ms)
            return true;
    }
    return (d->list.limited && delivery_needs_list(d) &&
            request_schedule_due_ms(&d->schedule, &d->list) == due_ms) ||
           removal_is_limited(&d->removal, &d->schedule, due_ms);
}

int64_t delivery_waiting_ms(const struct delivery *delivery, int64_t now_ms)
{
    int64_t waiting_ms =
        request_schedule_waiting_ms(&delivery->schedule, needed_endpoints(delivery), now_ms);
    int64_t until = until_ms(delivery, now_ms);

    if (delivery->removal.list_busy)
        return delivery->removal.claim_due_ms > now_ms ? delivery->removal.claim_due_ms - now_ms
                                                       : 1;

    if (until - now_ms > waiting_ms && until - now_ms > REQUEST_SCHEDULE_WAITING_MIN_MS &&
        next_is_limited(delivery, until))
        return until - now_ms;
    return waiting_ms;
}

enum run_reason wait_reason(enum wait_kind kind)
{
    switch (kind) {
    case WAIT_NONE:
        return REASON_NONE;
    case WAIT_RATE_LIMITED:
        return REASON_RATE_LIMITED;
    case WAIT_DATABASE_UNAVAILABLE:
        return REASON_DATABASE_UNAVAILABLE;
    case WAIT_LIST_IN_USE:
        return REASON_LIST_IN_USE;
    case WAIT_KLAVIYO_UNAVAILABLE:
        break;
    }
    return REASON_KLAVIYO_UNAVAILABLE;
}

static struct delivery_wait unavailable_wait(const struct delivery *d, int64_t now_ms)
{
    bool failed = d->availability.unavailable_since_ms > 0;

    return (struct delivery_wait){
        .kind = WAIT_KLAVIYO_UNAVAILABLE,
        .since_ms = failed ? d->availability.unavailable_since_ms : d->availability.quiet_since_ms,
        .until_ms = until_ms(d, now_ms),
        .why = failed ? d->availability.trouble : "Klaviyo does not answer",
    };
}

static struct delivery_wait limited_wait(const struct delivery *d, int64_t now_ms)
{
    int64_t limited_ms = delivery_waiting_ms(d, now_ms);

    return (struct delivery_wait){
        .kind = WAIT_RATE_LIMITED,
        .since_ms =
            d->availability.limited_since_ms > 0 ? d->availability.limited_since_ms : now_ms,
        .until_ms = limited_ms > 0 ? now_ms + limited_ms : until_ms(d, now_ms),
        .why = d->availability.limit[0] ? d->availability.limit : d->availability.trouble,
    };
}

struct delivery_wait delivery_wait(const struct delivery *delivery, int64_t now_ms)
{
    if (availability_in_vain_ms(&delivery->availability, now_ms) >= IN_VAIN_MS ||
        availability_is_quiet(&delivery->availability, delivery->schedule.n_in_flight, now_ms))
        return unavailable_wait(delivery, now_ms);
    if (delivery->removal.list_busy)
        return (struct delivery_wait){ .kind = WAIT_LIST_IN_USE,
                                       .since_ms = delivery->removal.busy_since_ms,
                                       .until_ms = delivery->removal.claim_due_ms,
                                       .why = "another run is sending to the same list" };
    if (delivery_waiting_ms(delivery, now_ms) > 0 ||
        availability_limited_ms(&delivery->availability, now_ms) >= IN_VAIN_MS)
        return limited_wait(delivery, now_ms);
    return (struct delivery_wait){ .kind = WAIT_NONE };
}

static unsigned most_attempts(const struct delivery *d)
{
    unsigned most = d->list.attempts > removal_attempts(&d->removal)
                        ? d->list.attempts
                        : removal_attempts(&d->removal);

    for (size_t i = 0; i < d->imports.n; i++)
        if (d->imports.import[i]->request.attempts > most)
            most = d->imports.import[i]->request.attempts;
    return most > d->schedule.attempts ? most : d->schedule.attempts;
}

int64_t delivery_park_ms(const struct delivery *delivery, int64_t now_ms, unsigned *attempts)
{
    int64_t due = delivery_due_ms(delivery, now_ms);
    bool long_in_vain =
        availability_in_vain_ms(&delivery->availability, now_ms) >= AVAILABILITY_LONG_MS ||
        availability_limited_ms(&delivery->availability, now_ms) >= AVAILABILITY_LONG_MS;

    if (delivery->schedule.n_in_flight > 0 || delivery->schedule.draining ||
        due == REQUEST_SCHEDULE_NEVER ||
        due - now_ms < (long_in_vain ? PARK_IN_VAIN_MS : PARK_MIN_MS) ||
        delivery_wait(delivery, now_ms).kind == WAIT_NONE)
        return 0;
    *attempts = most_attempts(delivery);
    return due - now_ms;
}
