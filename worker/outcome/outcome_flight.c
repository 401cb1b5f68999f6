#include "worker/outcome/outcome_flight.h"

#include <assert.h>
#include <string.h>

static bool is_pending(const struct outcome_in_flight *item)
{
    return item->used && item->fate == OUTCOME_PENDING;
}

struct outcome_in_flight *outcome_flight_add(struct outcome_flight *flight,
                                             const struct outcome *outcome, int64_t now_ms)
{
    size_t i = 0;

    while (i < OUTCOME_FLIGHT_MAX && flight->items[i].used)
        i++;
    assert(i < OUTCOME_FLIGHT_MAX);
    if (outcome_flight_oldest_ms(flight) == 0)
        flight->renewed_ms = now_ms; /* the claim itself */
    flight->items[i] = (struct outcome_in_flight){ .used = true,
                                                   .reduced = outcome->reduced,
                                                   .fate = OUTCOME_PENDING,
                                                   .outcome_id = outcome->outcome_id,
                                                   .run_id = outcome->run_id,
                                                   .since_ms = now_ms,
                                                   .bytes = strlen(outcome->data) };
    return &flight->items[i];
}

size_t outcome_flight_n(const struct outcome_flight *flight)
{
    size_t n = 0;

    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++)
        n += flight->items[i].used;
    return n;
}

size_t outcome_flight_room(const struct outcome_flight *flight, size_t *bytes)
{
    size_t held = 0;

    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++)
        held += flight->items[i].used ? flight->items[i].bytes : 0;
    *bytes = held < OUTCOME_FLIGHT_BYTES_MAX ? OUTCOME_FLIGHT_BYTES_MAX - held : 0;
    return *bytes > 0 ? OUTCOME_FLIGHT_MAX - outcome_flight_n(flight) : 0;
}

int64_t outcome_flight_oldest_ms(const struct outcome_flight *flight)
{
    int64_t oldest_ms = 0;

    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++) {
        const struct outcome_in_flight *item = &flight->items[i];
        if (is_pending(item) && (oldest_ms == 0 || item->since_ms < oldest_ms))
            oldest_ms = item->since_ms;
    }
    return oldest_ms;
}

size_t outcome_flight_due(const struct outcome_flight *flight, int64_t now_ms,
                          int64_t ids[OUTCOME_FLIGHT_MAX],
                          enum outcome_fate fates[OUTCOME_FLIGHT_MAX])
{
    bool renew = now_ms - flight->renewed_ms >= OUTCOME_RENEW_MS;
    size_t n = 0;

    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++) {
        const struct outcome_in_flight *item = &flight->items[i];
        if (!item->used || (is_pending(item) && !renew))
            continue;
        ids[n] = item->outcome_id;
        fates[n++] = item->fate;
    }
    return n;
}

void outcome_flight_recorded(struct outcome_flight *flight, int64_t now_ms)
{
    if (now_ms - flight->renewed_ms >= OUTCOME_RENEW_MS)
        flight->renewed_ms = now_ms;
    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++)
        if (!is_pending(&flight->items[i]))
            flight->items[i].used = false;
}

void outcome_flight_give_up(struct outcome_flight *flight)
{
    for (size_t i = 0; i < OUTCOME_FLIGHT_MAX; i++)
        if (is_pending(&flight->items[i]))
            flight->items[i].fate = OUTCOME_RETURNED;
}
