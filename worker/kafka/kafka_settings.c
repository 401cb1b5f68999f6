#include "worker/kafka/kafka_settings.h"

#include <stdio.h>

#include "worker/kafka/handle_config.h"

settings_file_check *const kafka_settings_checks[] = { kafka_settings_check, NULL };

bool kafka_settings_check(const struct settings *settings, struct error *err)
{
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = handle_config_new(settings, HANDLE_MEMBER, err);

    return conf != NULL;
}

void kafka_settings_brokers(const struct settings *settings, char *out, size_t size)
{
    struct error ignored = ERROR_INIT;
    CLEANUP(conf_freep)
    rd_kafka_conf_t *conf = handle_config_new(settings, HANDLE_MEMBER, &ignored);
    char brokers[1024];
    size_t n = sizeof brokers;

    if (conf && rd_kafka_conf_get(conf, "bootstrap.servers", brokers, &n) == RD_KAFKA_CONF_OK)
        (void)snprintf(out, size, "%s", brokers);
    else
        (void)snprintf(out, size, "%s", settings->kafka_bootstrap_servers);
}
