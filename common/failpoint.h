#ifndef COMMON_FAILPOINT_H
#define COMMON_FAILPOINT_H

#include <stdbool.h>

/*
 * Fail points: places at which a test kills the process, and bounds that it shortens.
 *
 *     KLAVIYO_FAILPOINT=confirm.after:3 klaviyo-worker run
 *
 * ends it with SIGKILL the third time it reaches that point. Each durable step
 * has two: NAME.before and NAME.after.
 *
 *     KLAVIYO_FAILPOINT_BOUND=migrate_waits:1 klaviyo-worker migrate
 *
 * tries once, where it tries many times otherwise. Builds without WORKER_FAILPOINTS (all
 * that are shipped) have neither.
 */
#ifdef WORKER_FAILPOINTS

/*
 * Any thread. Ends the process with SIGKILL where NAME is the wanted one and
 * its count is reached.
 */
void failpoint_hit(const char *name);

/* The same, after a call: returns its result. */
bool failpoint_pass(const char *name, bool result);
int failpoint_bound(const char *name, int usual);

#define FAILPOINT(name) failpoint_hit(name)
#define FAILPOINT_AROUND(name, call) \
    (failpoint_hit(name ".before"), failpoint_pass(name ".after", (call)))
#define FAILPOINT_BOUND(name, usual) failpoint_bound(name, usual)

#else

#define FAILPOINT(name) ((void)0)
#define FAILPOINT_AROUND(name, call) (call)
#define FAILPOINT_BOUND(name, usual) (usual)

#endif
#endif
