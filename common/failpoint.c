#include "common/failpoint.h"

#ifdef WORKER_FAILPOINTS

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/parse.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char wanted[64];
static int64_t left = 1;

static void read_environment(void)
{
    const char *text = getenv("KLAVIYO_FAILPOINT"); /* NOLINT(concurrency-mt-unsafe) */
    const char *colon = text ? strchr(text, ':') : NULL;

    if (!text)
        return;
    (void)snprintf(wanted, sizeof wanted, "%.*s", (int)(colon ? colon - text : 63), text);
    if (colon && !parse_int64(colon + 1, 1, 1000000, &left))
        left = 1;
}

void failpoint_hit(const char *name)
{
    (void)pthread_once(&once, read_environment);
    if (strcmp(name, wanted) != 0)
        return;
    (void)pthread_mutex_lock(&lock);
    bool now = --left == 0;
    (void)pthread_mutex_unlock(&lock);
    if (now)
        (void)kill(getpid(), SIGKILL);
}

bool failpoint_pass(const char *name, bool result)
{
    failpoint_hit(name);
    return result;
}

int failpoint_bound(const char *name, int usual)
{
    const char *text = getenv("KLAVIYO_FAILPOINT_BOUND"); /* NOLINT(concurrency-mt-unsafe) */
    const char *colon = text ? strchr(text, ':') : NULL;
    int64_t bound;

    if (!colon || strlen(name) != (size_t)(colon - text) ||
        strncmp(text, name, (size_t)(colon - text)) != 0)
        return usual;
    return parse_int64(colon + 1, 1, 1000000, &bound) ? (int)bound : usual;
}

#else

/* A file must not be empty. */
typedef int failpoints_are_not_built;

#endif
