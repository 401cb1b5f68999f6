#include "worker/kafka/client_log.h"

#include <stdbool.h>
#include <string.h>

#include "common/log.h"

/*
 * One file is for consumers and producers: each complains of properties that are only
 * the other's. And a reader without a group needs a property that librdkafka calls a legacy one.
 */
static bool is_expected(const char *facility, const char *text)
{
    return strcmp(facility, "CONFWARN") == 0 &&
           (strstr(text, "is a consumer property") || strstr(text, "is a producer property") ||
            strstr(text, "auto.commit.enable is deprecated"));
}

static enum log_level level_of(int syslog_level, const char *facility, const char *text)
{
    /* Said once, and better, by our own events; or by no means a warning. */
    static const char *const quiet[] = { "FAIL", "ERROR", "GETPID", "AUTOCREATE" };

    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++)
        if (strcmp(facility, quiet[i]) == 0)
            return LOG_LEVEL_DEBUG;
    if (is_expected(facility, text))
        return LOG_LEVEL_DEBUG;
    if (syslog_level <= 3)
        return LOG_LEVEL_ERROR;
    if (syslog_level == 4)
        return LOG_LEVEL_WARN;
    return syslog_level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
}

void client_log_write(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    log_at(level_of(level, facility, text), "kafka_client", LOG_STR("facility", facility),
           LOG_STR("text", text));
}
