#include "worker/export/availability.h"

#include <stdio.h>

enum { QUIET_MS = 4000 /* no response for this long: reported within 5 s (contract) */ };

void availability_init(struct availability *availability, bool unavailable, bool limited,
                       const char *trouble, int64_t now_ms)
{
    *availability = (struct availability){
        .unavailable_since_ms = unavailable ? now_ms - AVAILABILITY_LONG_MS : 0,
        .limited_since_ms = limited ? now_ms - AVAILABILITY_LONG_MS : 0,
    };
    (void)snprintf(availability->trouble, sizeof availability->trouble, "%s",
                   trouble ? trouble : "");
}

void availability_heard(struct availability *availability, int64_t now_ms)
{
    availability->quiet_since_ms = now_ms;
}

bool availability_is_slow(int64_t sent_ms, int64_t now_ms)
{
    return now_ms - sent_ms >= QUIET_MS;
}

bool availability_is_quiet(const struct availability *availability, size_t n_in_flight,
                           int64_t now_ms)
{
    return n_in_flight > 0 && availability_is_slow(availability->quiet_since_ms, now_ms);
}

/* Since when that holds: as before, or from now on; 0: it does not. */
static int64_t since(bool is_so, int64_t before_ms, int64_t now_ms)
{
    if (!is_so)
        return 0;
    return before_ms > 0 ? before_ms : now_ms;
}

bool availability_responded(struct availability *availability, enum verdict_action action,
                            size_t n_in_flight, int64_t now_ms)
{
    bool again = action == VERDICT_AGAIN;
    bool limited = action == VERDICT_THROTTLED;
    int64_t began_ms = availability_is_quiet(availability, n_in_flight, now_ms)
                           ? availability->quiet_since_ms
                           : now_ms;

    availability->quiet_since_ms = now_ms;
    availability->unavailable_since_ms = since(again, availability->unavailable_since_ms, began_ms);
    availability->limited_since_ms = since(limited, availability->limited_since_ms, now_ms);
    return !again && !limited;
}

void availability_progress(struct availability *availability)
{
    if (availability->unavailable_since_ms == 0)
        availability->trouble[0] = '\0';
}

static int64_t since_ms(int64_t began_ms, int64_t now_ms)
{
    return began_ms > 0 ? now_ms - began_ms : 0;
}

int64_t availability_in_vain_ms(const struct availability *availability, int64_t now_ms)
{
    return since_ms(availability->unavailable_since_ms, now_ms);
}

int64_t availability_limited_ms(const struct availability *availability, int64_t now_ms)
{
    return since_ms(availability->limited_since_ms, now_ms);
}
