#include "worker/kafka/kafka_settings.h"

#include "worker/kafka/handle_config.h"

settings_file_check *const kafka_settings_checks[] = { kafka_settings_check, NULL };

bool kafka_settings_check(const struct settings *settings, struct error *err)
{
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = handle_config_new(settings, HANDLE_MEMBER, err);

    return conf != NULL;
}
