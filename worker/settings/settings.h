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
 * default, bounds and meaning; `--help` and the reference are printed from it.
 *
 * To add a setting: a member here, a row there.
 */
struct settings {
    struct secret_source database_url; /* empty: libpq's own PG* variables */
    const char *kafka_bootstrap_servers;
    const char *kafka_config_file; /* empty: none */
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

/*
 * Reports every wrong setting at once, one line per setting, none with the
 * value of a secret. Strings are borrowed from the environment, which must not
 * change. Before any thread.
 */
typedef bool settings_check(const char *value, struct error *err); /* words that follow the name */

/* check_database_url: NULL, or what judges a database URL. */
bool settings_load(struct settings *settings, settings_check *check_database_url, struct error *err)
    MUST_USE;

/* One line per setting, for a terminal. */
void settings_print_help(FILE *out);

/* The same as a Markdown table, for the reference. */
void settings_print_markdown(FILE *out);

#endif
