#ifndef WORKER_SETTINGS_ENV_FILE_H
#define WORKER_SETTINGS_ENV_FILE_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * Settings from a file, in the form of systemd's EnvironmentFile=: one NAME=value per
 * line, comments behind # or ; at a line's beginning, values plain, in single or
 * in double quotes, a backslash for the next character. They go into the
 * environment, but never replace a variable that is set: what a user set takes
 * precedence. Before any thread, and before settings_load().
 *
 * ERROR_INPUT names file and line, nothing of its content.
 */
bool env_file_load(const char *path, struct error *err) MUST_USE;

/*
 * A folder such as a package creates: klaviyo-worker.env, and database-url, secret.key
 * and kafka.properties unless variables are set that say the same. Files that are missing,
 * or that this user may not read, are skipped.
 */
bool env_folder_load(const char *folder, struct error *err) MUST_USE;

/* Where the package of this build keeps its settings. */
const char *env_folder_of_package(void);

#endif
