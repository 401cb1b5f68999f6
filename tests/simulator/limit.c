#include "tests/simulator/limit.h"

#define SECOND_US 1000000

static int64_t length_us(const struct limit *limit, size_t i)
{
    return (int64_t)limit->window[i].seconds * SECOND_US;
}

/* Rounds down, so that a time before the phase has a window of its own too. */
static int64_t window_number(const struct limit *limit, size_t i, int64_t phase_us, int64_t now_us)
{
    int64_t length = length_us(limit, i), since = now_us - phase_us;

    return since / length - (since % length < 0);
}

static int64_t window_left_us(const struct limit *limit, size_t i, int64_t phase_us, int64_t now_us)
{
    int64_t number = window_number(limit, i, phase_us, now_us);

    return phase_us + (number + 1) * length_us(limit, i) - now_us;
}

static uint32_t counted(const struct limit *limit, const struct limit_use *use, size_t i,
                        int64_t phase_us, int64_t now_us)
{
    bool current = use->window[i].number == window_number(limit, i, phase_us, now_us);

    return current ? use->window[i].count : 0;
}

static bool is_full(const struct limit *limit, const struct limit_use *use, size_t i,
                    int64_t phase_us, int64_t now_us)
{
    return counted(limit, use, i, phase_us, now_us) >= limit->window[i].requests;
}

bool limit_has_room(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                    int64_t now_us)
{
    for (size_t i = 0; i < LIMIT_WINDOWS && limit->window[i].seconds; i++)
        if (is_full(limit, use, i, phase_us, now_us))
            return false;
    return true;
}

void limit_count(const struct limit *limit, struct limit_use *use, int64_t phase_us, int64_t now_us)
{
    for (size_t i = 0; i < LIMIT_WINDOWS && limit->window[i].seconds; i++) {
        use->window[i].count = counted(limit, use, i, phase_us, now_us) + 1;
        use->window[i].number = window_number(limit, i, phase_us, now_us);
    }
}

unsigned limit_wait_s(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                      int64_t now_us)
{
    int64_t wait_us = 1;

    for (size_t i = 0; i < LIMIT_WINDOWS && limit->window[i].seconds; i++) {
        int64_t left_us = window_left_us(limit, i, phase_us, now_us);

        if (is_full(limit, use, i, phase_us, now_us) && left_us > wait_us)
            wait_us = left_us;
    }
    return (unsigned)((wait_us + SECOND_US - 1) / SECOND_US);
}

unsigned limit_remaining(const struct limit *limit, const struct limit_use *use, int64_t phase_us,
                         int64_t now_us)
{
    uint32_t count = counted(limit, use, 0, phase_us, now_us);

    return count < limit->window[0].requests ? limit->window[0].requests - count : 0;
}

unsigned limit_reset_s(const struct limit *limit, int64_t phase_us, int64_t now_us)
{
    return (unsigned)(window_left_us(limit, 0, phase_us, now_us) / SECOND_US);
}

void limit_describe(const struct limit *limit, struct strbuf *out)
{
    strbuf_addf(out, "%u", limit->window[0].requests);
    for (size_t i = 0; i < LIMIT_WINDOWS && limit->window[i].seconds; i++)
        strbuf_addf(out, ", %u;w=%u", limit->window[i].requests, limit->window[i].seconds);
}
