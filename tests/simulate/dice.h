#ifndef TESTS_SIMULATE_DICE_H
#define TESTS_SIMULATE_DICE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Chance: everything that is left to it comes from here, so that a seed is the whole
 * schedule. randombytes_random(), which the product asks, comes from here, too.
 */

/* All that follows is decided by the seed. */
void dice_begin(uint64_t seed);

/* 0 to below - 1. */
int64_t dice(int64_t below);

/* True so many times in a thousand. */
bool dice_chance(int64_t permille);

/* A time of the kind that networks take: mostly short, now and then very long. */
int64_t dice_delay_ms(int64_t usual_ms);
void dice_keep_delays_short(bool keep); /* never long: until the next schedule */

#endif
