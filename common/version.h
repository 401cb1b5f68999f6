#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

/* What was built. Static strings. */

const char *version_number(void); /* "0.1.0" */
const char *
version_git_commit(void); /* of the tree that was built; ", changed" behind it where it was */
const char *
version_user_agent(void); /* "klaviyo-worker/0.1.0": how requests introduce themselves */

#endif
