#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

#include <stddef.h>

/*
 * The known word that somebody who typed another one probably meant: the one
 * with the fewest letters inserted, left out, changed or swapped.
 *
 *     struct nearest nearest = NEAREST_INIT(typed);
 *     nearest_offer(&nearest, "first_name"); …
 *     nearest.best                                    NULL: none is near
 */
struct nearest {
    const char *typed;
    const char *best;
    size_t distance;
};

#define NEAREST_INIT(typed_) ((struct nearest){ .typed = (typed_), .best = NULL })

/* word is lent for as long as best is used. Of equally near words the first one wins. */
void nearest_offer(struct nearest *nearest, const char *word);

/* The distance itself; words are cut at 63 bytes. Case of ASCII letters does not count. */
size_t nearest_distance(const char *a, const char *b);

#endif
