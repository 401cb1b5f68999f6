#ifndef WORKER_CLI_DURATION_H
#define WORKER_CLI_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * A duration as people write it: "90m", "26h", "1d": a whole number and a unit,
 * from a minute to 366 days. "none" is 0. False: it is something else.
 */
bool duration_parse(const char *text, int64_t *seconds) MUST_USE;

#endif
