#include "tests/simulate/dice.h"

#include <sodium.h>

static uint64_t state;
static bool short_delays;

/* splitmix64: each seed leads to a state that has nothing to do with the next one's. */
static uint64_t next(void)
{
    uint64_t z = (state += 0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

static const char *name(void)
{
    return "dice";
}

static uint32_t random_number(void)
{
    return (uint32_t)next();
}

static void random_bytes(void *buffer, size_t n)
{
    unsigned char *bytes = buffer;

    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)next();
}

static struct randombytes_implementation implementation = {
    .implementation_name = name,
    .random = random_number,
    .buf = random_bytes,
};

void dice_begin(uint64_t seed)
{
    state = seed * 0xD1342543DE82EF95 + 1;
    short_delays = false;
    (void)randombytes_set_implementation(&implementation);
}

int64_t dice(int64_t below)
{
    return (int64_t)(next() % (uint64_t)below);
}

bool dice_chance(int64_t permille)
{
    return dice(1000) < permille;
}

void dice_keep_delays_short(bool keep)
{
    short_delays = keep;
}

int64_t dice_delay_ms(int64_t usual_ms)
{
    int64_t kind = dice(100);

    if (kind < 85 || short_delays)
        return dice(usual_ms + 1);
    if (kind < 98)
        return dice(usual_ms * 8 + 1);
    return dice(usual_ms * 100 + 1);
}
