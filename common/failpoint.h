#ifndef COMMON_FAILPOINT_H
#define COMMON_FAILPOINT_H

#include <stdbool.h>

/*
 * Fail points: places at which a test kills the process.
 *
 *     KLAVIYO_FAILPOINT=confirm.after:3 klaviyo-worker run
 *
 * ends it with SIGKILL the third time it comes past there. Each durable step
 * has two: NAME.before and NAME.after. Builds without WORKER_FAILPOINTS (all
 * that are shipped) have none of it.
 */
#ifdef WORKER_FAILPOINTS

void failpoint_hit(const char *name);
bool failpoint_pass(const char *name, bool result);

#define FAILPOINT(name) failpoint_hit(name)
#define FAILPOINT_AROUND(name, call) \
    (failpoint_hit(name ".before"), failpoint_pass(name ".after", (call)))

#else

#define FAILPOINT(name) ((void)0)
#define FAILPOINT_AROUND(name, call) (call)

#endif
#endif
