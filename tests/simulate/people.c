#include "tests/simulate/people.h"

#include <stdio.h>
#include <string.h>

#include "tests/simulate/dice.h"

struct person people[PEOPLE];
const char *const export_attributes[EXPORTS] = { "first_name", "last_name", "organization" };

static enum dislike any_dislike(void)
{
    int64_t n = dice(20);

    return n == 0 ? REFUSED_AT_ONCE : n == 1 ? FAILS_IN_JOB : n == 2 ? FAILS_UNNAMED : LIKED;
}

void people_begin(void)
{
    for (int i = 0; i < PEOPLE; i++)
        people[i] = (struct person){ .well_formed = dice(10) > 0,
                                     .segments = (unsigned)dice(1 << SEGMENTS),
                                     .value = 1,
                                     .dislike = any_dislike() };
}

void person_address(int person, char *text)
{
    if (people[person].well_formed)
        (void)snprintf(text, 32, "p%02d@x.example", person);
    else
        (void)snprintf(text, 32, "a%02d", person);
}

int person_number(const char *digits)
{
    if (digits[0] < '0' || digits[0] > '9' || digits[1] < '0' || digits[1] > '9')
        return -1;
    return (digits[0] - '0') * 10 + digits[1] - '0';
}

int person_find(const char *text, const char *mark, const char **end)
{
    const char *at = strstr(text, mark);

    if (!at)
        return -1;
    *end = at + strlen(mark) + 2;
    return person_number(at + strlen(mark));
}
