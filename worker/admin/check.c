#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/seal.h"
#include "worker/admin/setup.h"
#include "worker/cli/arguments.h"
#include "worker/cli/table.h"
#include "worker/kafka/kafka_settings.h"
#include "worker/kafka/topics.h"
#include "worker/store/key_pairs.h"
#include "worker/store/migration.h"
#include "worker/store/roles.h"
#include "worker/store/site_check.h"

/*
 * `check`: every check is made, whatever the earlier ones found. Nothing is written
 * anywhere.
 */
enum { KAFKA_TIMEOUT_MS = 10000 };

struct check {
    const struct settings *settings;
    json_t *lines;
    int n_lines;
    int n_failed;
    int n_unreachable; /* of the failed ones, those that may pass later */
};

static void add_line(struct check *check, const char *what, const char *result, const char *detail)
{
    (void)json_array_append_new(check->lines, json_pack("{s:s, s:s, s:s?}", "check", what, "result",
                                                        result, "detail", detail));
    check->n_lines++;
}

static void passed(struct check *check, const char *what, const char *detail)
{
    add_line(check, what, "ok", detail);
}

static void failed(struct check *check, const char *what, const struct error *err)
{
    add_line(check, what, "failed", err->text);
    check->n_failed++;
    check->n_unreachable += err->kind == ERROR_RETRY;
}

static void note(struct check *check, const char *what, bool ok, const char *detail,
                 const struct error *err)
{
    if (ok)
        passed(check, what, detail);
    else
        failed(check, what, err);
}

/* -- the database and what is in it -- */

static void check_key_file(struct check *check, const struct key_pair *newest)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    struct error err = ERROR_INIT;
    const char *path = check->settings->secret_key_file;
    char detail[1024];

    if (!*path) {
        passed(check, "key file",
               "SECRET_KEY_FILE is not set: needed by run and by commands with --direct");
        return;
    }
    bool ok = seal_pair_load(&pair, path, &err);
    if (ok && memcmp(pair.public_key, newest->public_key, SEAL_KEY_BYTES) != 0)
        ok = error_set(&err, ERROR_INPUT,
                       "%s does not belong to the database's newest key pair: set SECRET_KEY_FILE "
                       "to the file that was made with it",
                       path);
    (void)snprintf(detail, sizeof detail, "%s%s", path,
                   secret_file_exposed(path) ? ": every user of this host can read it: chmod 600"
                                             : "");
    note(check, "key file", ok, detail, &err);
}

static void check_keys(struct check *check, struct db *db)
{
    struct error err = ERROR_INIT;
    struct key_pair newest;
    bool ok = key_pairs_newest(db, &newest, &err);

    if (ok && newest.key_pair_id == 0)
        ok = error_set(&err, ERROR_INPUT, "there is none: run klaviyo-worker keygen --out FILE");
    note(check, "key pair", ok, "in the database", &err);
    if (ok)
        check_key_file(check, &newest);
}

static void check_members(struct check *check, struct db *db)
{
    char detail[SITE_CHECK_DETAIL_BYTES];
    struct error err = ERROR_INIT;

    note(check, "members", site_check_members(db, detail, &err), detail, &err);
}

/* Where there is a key file, the settings are a worker's. False: the user is a stranger. */
static bool check_user(struct check *check, struct db *db)
{
    struct error err = ERROR_INIT;
    bool known = site_check_user(db, &err);
    bool worker = *check->settings->secret_key_file;

    note(check, "database user", known && (!worker || site_check_worker(db, &err)), NULL, &err);
    return known;
}

/* What comes later needs what comes first: roles, then tables, then what is in them. */
static void check_contents(struct check *check, struct db *db)
{
    struct error err = ERROR_INIT;
    bool ok = roles_check(db, &err);

    note(check, "roles", ok, NULL, &err);
    if (!ok || !check_user(check, db))
        return;
    note(check, "workers' rights", site_check_rights(db, &err), NULL, &err);
    check_members(check, db);
    ok = migration_check(db, &err);
    note(check, "tables", ok, NULL, &err);
    if (ok)
        check_keys(check, db);
}

static void check_database(struct check *check)
{
    const struct db_options how = { .url = check->settings->database_url,
                                    .name = "klaviyo-worker check" };
    CLEANUP(db_freep) struct db *db = NULL;
    struct error err = ERROR_INIT;
    char version[64], detail[96];
    bool ok = db_open(&db, &how, &err) && db_server_version(db, version, &err);

    (void)snprintf(detail, sizeof detail, "PostgreSQL %s", ok ? version : "");
    bool reached = ok;
    ok = ok && site_check_server(db, &err);
    note(check, "database", ok, detail, &err);
    if (reached)
        check_contents(check, db);
}

/* -- Kafka -- */

static void check_topic(struct check *check, const struct topic_status *topic)
{
    struct error err = ERROR_INIT;
    char what[280], detail[32];

    (void)snprintf(what, sizeof what, "topic %s", topic->name);
    (void)snprintf(detail, sizeof detail, "%d partition%s", topic->partitions,
                   topic->partitions == 1 ? "" : "s");
    switch (topic->state) {
    case TOPIC_PRESENT:
        passed(check, what, detail);
        return;
    case TOPIC_UNREACHABLE:
        (void)error_set(&err, topic->passes ? ERROR_RETRY : ERROR_INPUT,
                        "its partition %d is led by broker %s, which cannot be reached (%s): what "
                        "the broker advertises (advertised.listeners) must be a name that resolves "
                        "here, and a port that is open",
                        topic->partition, topic->broker, topic->why);
        break;
    case TOPIC_LEADERLESS:
        (void)error_set(
            &err, ERROR_RETRY,
            "its partition %d has no leader: a broker is unreachable, or an election is under way",
            topic->partition);
        break;
    case TOPIC_MISSING:
        (void)error_set(&err, ERROR_INPUT, "does not exist: make it, or correct the setting");
        break;
    case TOPIC_REFUSED:
        (void)error_set(&err, ERROR_INPUT,
                        "this user may not see it: give it the right to describe the topic");
        break;
    case TOPIC_UNREADABLE:
        (void)error_set(&err, ERROR_INPUT,
                        "this user may not read it: grant it Read on KAFKA_TOPIC, as each worker "
                        "needs it");
        break;
    }
    failed(check, what, &err);
}

/* May this user be a worker? What it says of the topic is shown in the topic's line. */
static void check_group(struct check *check, struct topic_status *topic)
{
    enum topics_access access = TOPICS_READABLE;
    struct error err = ERROR_INIT;
    char what[280];

    (void)snprintf(what, sizeof what, "group %s", check->settings->kafka_group_id);
    bool ok = topics_access(check->settings, &access, KAFKA_TIMEOUT_MS, &err);
    if (ok && access == TOPICS_GROUP_REFUSED)
        ok = error_set(&err, ERROR_INPUT,
                       "this user may not be a member of it: grant it Read on the group, as each "
                       "worker needs it");
    if (ok && access == TOPICS_TOPIC_REFUSED && topic->state == TOPIC_PRESENT)
        topic->state = TOPIC_UNREADABLE;
    note(check, what, ok, NULL, &err);
}

static void check_kafka(struct check *check)
{
    struct topic_status topics[] = { { .name = check->settings->kafka_topic },
                                     { .name = check->settings->kafka_dead_letter_topic },
                                     { .name = check->settings->kafka_outcome_topic } };
    const size_t n = *check->settings->kafka_outcome_topic ? 3 : 2; /* empty: turned off */
    char brokers[1024];
    struct error err = ERROR_INIT;
    bool ok = topics_look(check->settings, topics, n, KAFKA_TIMEOUT_MS, &err);

    kafka_settings_brokers(check->settings, brokers, sizeof brokers);
    note(check, "Kafka", ok, brokers, &err);
    if (ok)
        check_group(check, &topics[0]);
    for (size_t i = 0; ok && i < n; i++)
        check_topic(check, &topics[i]);
}

static bool print(const struct check *check, bool as_json, struct error *err)
{
    static const struct column columns[] = { { "CHECK", "check", false, false },
                                             { "RESULT", "result", false, false },
                                             { "DETAIL", "detail", false, false },
                                             { NULL, NULL, false, false } };
    char *json = json_dumps(check->lines, 0);
    bool ok = json ? table_print(columns, json, as_json, "", err) : error_no_memory(err);

    free(json);
    return ok;
}

bool check_run(struct context *context, struct error *err)
{
    CLEANUP(json_freep) json_t *lines = json_array();
    struct check check = { .settings = context->settings, .lines = lines };

    if (!lines)
        return error_no_memory(err);
    passed(&check, "settings", NULL);
    check_database(&check);
    check_kafka(&check);
    if (!print(&check, arguments_flag(context->arguments, "--json"), err))
        return false;
    if (check.n_failed == 0)
        return true;
    return error_set(err, check.n_failed == check.n_unreachable ? ERROR_RETRY : ERROR_INPUT,
                     "%d of %d checks failed, see above", check.n_failed, check.n_lines);
}
