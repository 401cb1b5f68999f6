#ifndef WORKER_CLI_EXIT_STATUS_H
#define WORKER_CLI_EXIT_STATUS_H

#include "common/error.h"

/*
 * How the program ends, and what it says then: 0 done, 1 failed, 2 wrong usage or
 * settings, 75 try again later. Each function prints the error on standard
 * error, for people, and returns the exit code.
 */

/* 75 for ERROR_RETRY, else 1. */
int exit_status_of_failure(const struct error *err);

/* 2, or 75; the text has a line for each problem of the settings. */
int exit_status_of_settings(const struct error *err);

/* 2, or 75; words: the command's, or a group's: where to find help. Empty: the program's. */
int exit_status_of_usage(const struct error *err, const char *words);

#endif
