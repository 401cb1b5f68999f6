#ifndef WORKER_CLI_CONFIRM_H
#define WORKER_CLI_CONFIRM_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/cli/arguments.h"

/*
 * A question before something that cannot be undone. It is asked where standard
 * input is a terminal and --yes was not given: a script is not held up.
 *
 * question: without its end ("Forget it?"). ERROR_INPUT: the answer was not "yes",
 * nothing is to be done.
 */
#define OPTION_YES                                                \
    {                                                             \
        "--yes", OPTION_FLAG, false, NULL, "do it without asking" \
    }

/* True: it may be done, asked or not. Waits for the answer as long as it takes. */
bool confirm(const struct arguments *arguments, const char *question, struct error *err) MUST_USE;

#endif
