#ifndef COMMON_AGE_H
#define COMMON_AGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * Spans of time as people read them (pure): in one unit, the largest of which there are
 * two at least, so that spans can be compared at a glance.
 */

/* "119 s", "2 min", "3 h", "4 d"; the rest is left out. Below 0 counts as 0. */
void age_add_span(struct strbuf *out, int64_t seconds);

/* "3 min ago", "in 2 h": an RFC 3339 time seen from now_us, UTC. False: it is not one. */
bool age_add(struct strbuf *out, const char *time, int64_t now_us);

#endif
