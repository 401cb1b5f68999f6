#include "common/version.h"

#include "version_generated.h"

const char *version_number(void)
{
    return PROJECT_VERSION_TEXT;
}

const char *version_git_commit(void)
{
    return PROJECT_GIT_COMMIT;
}

const char *version_user_agent(void)
{
    return "klaviyo-worker/" PROJECT_VERSION_TEXT;
}
