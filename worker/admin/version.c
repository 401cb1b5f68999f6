#include "worker/admin/version.h"

#include <stdio.h>

#include "version_generated.h"

const char *version_user_agent(void)
{
    return "klaviyo-worker/" PROJECT_VERSION_TEXT;
}

void version_print(const struct component *components, size_t n)
{
    (void)printf("klaviyo-worker %s (%s)\n", PROJECT_VERSION_TEXT, PROJECT_GIT_COMMIT);
    for (size_t i = 0; i < n; i++)
        (void)printf("  %-14s %s\n", components[i].name, components[i].version());
}
