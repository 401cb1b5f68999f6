#ifndef TESTS_SIMULATE_PEOPLE_H
#define TESTS_SIMULATE_PEOPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/simulate/scale.h"

/*
 * People: the site's side. Who is in which segment, and the one value that is exported of
 * each: a number that grows. Each export brings it to an attribute of its own, as two that
 * write to the same one are told apart by nobody. Person 7 has the address p07@x.example; some
 * have none that is well formed. Klaviyo dislikes some.
 */
enum dislike {
    LIKED,
    REFUSED_AT_ONCE, /* the import that has them is answered 400, which points at them */
    FAILS_IN_JOB,    /* the job's errors name them */
    FAILS_UNNAMED,   /* the job counts them as failed and names nobody */
};

struct person {
    bool well_formed;
    unsigned segments; /* a set */
    int value;
    enum dislike dislike;
};

extern struct person people[PEOPLE];
extern const char *const export_attributes[EXPORTS];

/* Made by dice. */
void people_begin(void);

/* "p07@x.example" or "a07": text has room for 32 bytes. */
void person_address(int person, char *text);

/* The two digits after the mark, -1 where the text does not go on that way. */
int person_number(const char *digits);

/* The first person named in the text, as in {"email":"p07@x.example"}; *end is behind it; -1. */
int person_find(const char *text, const char *mark, const char **end);

#endif
