#ifndef WORKER_ADMIN_VERSION_H
#define WORKER_ADMIN_VERSION_H

#include <stddef.h>

/* A library in use, and who can tell its version. */
struct component {
    const char *name;
    const char *(*version)(void);
};

/* "klaviyo-worker/0.1.0": how requests to Klaviyo introduce themselves. */
const char *version_user_agent(void);

/* `--version` on standard output: ours, the git commit, the libraries'. */
void version_print(const struct component *components, size_t n);

#endif
