#ifndef WORKER_SETTINGS_SETTINGS_H
#define WORKER_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/log.h"
#include "common/secret_source.h"

/*
 * Everything that can be set, read once from the environment at start and
 * constant from then on. settings.c holds one table with each setting's name,
 * default, range and meaning; `--help` and the reference are printed from it.
 *
 * To add a setting: a member here, a row there.
 */
struct settings {
    struct secret_source database_url; /* empty: libpq's own PG* variables */
    const char *kafka_bootstrap_servers;
    bool kafka_bootstrap_servers_set; /* else KAFKA_CONFIG_FILE may name others */
    const char *kafka_config_file;    /* empty: none */
    const char *kafka_topic;
    const char *kafka_dead_letter_topic;
    const char *kafka_outcome_topic; /* empty: off */
    const char *kafka_group_id;
    const char *klaviyo_base_url; /* without a slash at its end */
    bool klaviyo_allow_http;      /* KLAVIYO_ALLOW_HTTP=1 */
    const char *klaviyo_revision;
    const char *klaviyo_ca_file; /* empty: libcurl's own */
    const char *secret_key_file; /* empty: none */
    const char *http_listen;     /* host:port; empty: off */
    const char *http_hosts;      /* names, separated by commas; may be empty */
    int64_t max_runs;
    int64_t lease_seconds;
    int64_t drain_seconds;
    int64_t retry_budget_seconds;
    int64_t request_timeout_seconds;
    int64_t poll_interval_min_ms;
    int64_t poll_interval_max_ms;
    int64_t retention_days;
    enum log_level log_level;
    enum log_format log_format;
};

/* Checks a value that this folder cannot; err: words that follow the setting's name. */
typedef bool settings_check(const char *value, struct error *err);

/*
 * Checks a file that a setting names, if it names one. Paths and names in settings are
 * valid, whatever else is wrong. err: a whole line, which begins with the setting's name.
 */
typedef bool settings_file_check(const struct settings *settings, struct error *err);

struct settings_checks {
    settings_check *database_url;      /* NULL: any value is accepted */
    settings_file_check *const *files; /* until NULL: of the files that will be read; NULL: none */
};

/*
 * Reports every wrong setting at once, one line per setting, none with the
 * value of a secret. Strings are borrowed from the environment, which must not
 * change. checks: NULL for none. Before any thread.
 */
bool settings_load(struct settings *settings, const struct settings_checks *checks,
                   struct error *err) MUST_USE;

/* One line per setting, for a terminal. */
void settings_print_help(FILE *out);

/* The same as a Markdown table, for the reference. */
void settings_print_markdown(FILE *out);

#endif
