#ifndef WORKER_CLI_PERCENT_H
#define WORKER_CLI_PERCENT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A share as people write it: "50" or "50%", a whole number from least to 100.
 * False: it is not one, *percent is untouched.
 */
bool percent_parse(const char *text, int64_t least, int64_t *percent);

#endif
