#ifndef WORKER_ADMIN_VERSION_H
#define WORKER_ADMIN_VERSION_H

#include <stddef.h>

/* A library in use, and who can tell its version. */
struct component {
    const char *name;
    const char *(*version)(void);
};

/* "0.1.0" */
const char *version_text(void);

/* `--version` on standard output: ours, the git commit, the libraries'. */
void version_print(const struct component *components, size_t n);

#endif
