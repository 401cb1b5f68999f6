#include "worker/ingest/config_watch.h"

#include "worker/kafka/consumer.h"
#include "worker/kafka/properties.h"

enum { CHECK_EVERY_MS = 5000 };

static uint64_t read_digest(const struct config_watch *watch)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;
    struct error ignored = ERROR_INIT;

    if (!properties_load(&properties, watch->settings->kafka_config_file, &ignored))
        return watch->digest;
    return properties_digest(&properties);
}

void config_watch_init(struct config_watch *watch, const struct settings *settings)
{
    *watch = (struct config_watch){ .settings = settings };
    watch->digest = read_digest(watch);
}

enum config_change config_watch_check(struct config_watch *watch, int64_t now_ms, struct error *err)
{
    if (!*watch->settings->kafka_config_file || now_ms - watch->read_ms < CHECK_EVERY_MS)
        return CONFIG_UNCHANGED;
    watch->read_ms = now_ms;
    uint64_t digest = read_digest(watch);
    if (digest == watch->digest)
        return CONFIG_UNCHANGED;
    watch->digest = digest;
    return consumer_check(watch->settings, err) ? CONFIG_CHANGED : CONFIG_REFUSED;
}
