#ifndef WORKER_KAFKA_KAFKA_SETTINGS_H
#define WORKER_KAFKA_KAFKA_SETTINGS_H

#include <stddef.h>

#include "worker/settings/settings.h"

/*
 * What commands that use Kafka check of their settings: that KAFKA_CONFIG_FILE can be
 * read, and that librdkafka accepts each of its lines. Nothing but that file is opened.
 * Errors that only a client shows (a wrong authority's file, say) are reported when it is
 * created.
 */
settings_file_check kafka_settings_check;

/*
 * The brokers that are asked first: KAFKA_BOOTSTRAP_SERVERS where it is set, else
 * those of KAFKA_CONFIG_FILE, else the default. Cut where it is too long.
 */
void kafka_settings_brokers(const struct settings *settings, char *out, size_t size);

/* kafka_settings_check() as the checks of a command's row. */
extern settings_file_check *const kafka_settings_checks[];

#endif
