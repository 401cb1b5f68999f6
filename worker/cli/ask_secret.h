#ifndef WORKER_CLI_ASK_SECRET_H
#define WORKER_CLI_ASK_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

/*
 * A secret from a file, or for "-" from standard input. Where that is a terminal
 * it is asked for, and what is typed is not shown: backspace and Ctrl-U delete, Ctrl-C
 * and Ctrl-D give up. At most max bytes.
 */
bool secret_ask(struct secret *secret, const char *path, const char *prompt, size_t max,
                struct error *err) MUST_USE;

#endif
