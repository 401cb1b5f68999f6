#include "worker/admin/setup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/seal.h"
#include "worker/admin/migrate_topics.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/kafka/kafka_settings.h"
#include "worker/store/key_pairs.h"
#include "worker/store/migration.h"
#include "worker/store/roles.h"

/* -- migrate -- */

static bool create_roles(struct db *db, struct error *err)
{
    enum roles_outcome outcome;
    char *statements = NULL;

    if (!roles_create(db, &outcome, &statements, err))
        return false;
    switch (outcome) {
    case ROLES_PRESENT:
        return true;
    case ROLES_CREATED:
        print_line("Created roles: klaviyo_admin, klaviyo_contributor, klaviyo_viewer and "
                   "klaviyo_worker for people and workers; klaviyo_definer and klaviyo_source "
                   "own functions.");
        return true;
    case ROLES_FORBIDDEN:
        break;
    }
    print_text(statements);
    print_text("\n");
    free(statements);
    return error_set(err, ERROR_INPUT,
                     "this database user may not create or use the roles: have an administrator "
                     "run the statements above, then run klaviyo-worker migrate again");
}

static void tell_waiting(const char *who)
{
    warn_user("waiting for %s, which holds locks on tables of the schema klaviyo", who);
}

/* Its relations may have another owner. */
static bool warn_of_source(struct db *db, struct error *err)
{
    char *statements = NULL;

    if (!roles_source_grants(db, &statements, err))
        return false;
    if (statements) {
        warn_user("workers cannot read the members of segments, or export add count them, until "
                  "the owner of the schema insights has run:");
        print_problems("", statements);
    }
    free(statements);
    return true;
}

static bool migrate(struct context *context, struct error *err)
{
    struct migration_report report;
    struct migrate_topics topics;

    if (!migrate_topics_read(context, &topics, err))
        return false;
    if (!create_roles(context->db, err) ||
        !migration_apply(context->db, tell_waiting, &report, err) ||
        !warn_of_source(context->db, err))
        return false;
    if (report.applied == 0)
        print_line("The database is at version %" PRId32 " already: nothing to do.",
                   report.version);
    else
        print_line("Applied %" PRId32 " migration%s: the database is at version %" PRId32 ".",
                   report.applied, report.applied == 1 ? "" : "s", report.version);
    return !topics.wanted || migrate_topics_make(context->settings, &topics, err);
}

static const struct option_spec migrate_options[] = {
    { "--topics", OPTION_FLAG, false, NULL, "create the topics in Kafka, too, where missing" },
    { "--partitions", OPTION_VALUE, false, "N",
      "partitions of KAFKA_TOPIC and KAFKA_OUTCOME_TOPIC, if they are created (default: 6)" },
    { "--replication-factor", OPTION_VALUE, false, "N",
      "replicas of topics that are created (default: 3, or the number of brokers)" },
    OPTIONS_END,
};

/* -- keygen -- */

static const struct option_spec keygen_options[] = {
    { "--out", OPTION_VALUE, true, "FILE", "file for the private half; must not exist yet" },
    { "--replace", OPTION_FLAG, false, NULL,
      "make a second pair: every API key must be given again" },
    OPTIONS_END,
};

static bool refuse_second_pair(struct db *db, bool replace, struct error *err)
{
    struct key_pair newest;

    if (!key_pairs_newest(db, &newest, err))
        return false;
    if (newest.key_pair_id == 0 || replace)
        return true;
    return error_set(err, ERROR_INPUT,
                     "the database has a key pair already: use the file that was made with it; if "
                     "that is lost, make a new pair with --replace and give every API key again");
}

/* The file comes first: a public half whose private one is lost would seal keys for nobody. */
static bool keep_pair(struct db *db, const struct seal_pair *pair, const char *path, bool replace,
                      char **marked, struct error *err)
{
    if (!seal_pair_save(pair, path, err))
        return false;
    if (key_pairs_add(db, pair->public_key, replace, marked, err))
        return true;
    return error_wrap(err, "the private half is in %s, but %s", path,
                      err->kind == ERROR_RETRY
                          ? "nobody knows whether the public half is in the database: set "
                            "SECRET_KEY_FILE to it and run klaviyo-worker check; only where it "
                            "does not belong there remove it and run keygen again"
                          : "the public half is not in the database, so nothing uses this pair: "
                            "remove the file and run keygen again");
}

static bool keygen(struct context *context, struct error *err)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    const char *path = arguments_value(context->arguments, "--out");
    bool replace = arguments_flag(context->arguments, "--replace");
    char *marked = NULL;

    if (!*path)
        return wrong_usage(context, err, "--out needs the name of a file");
    if (!refuse_second_pair(context->db, replace, err) || !seal_pair_generate(&pair, err) ||
        !keep_pair(context->db, &pair, path, replace, &marked, err))
        return false;

    print_line("The private half is in %s (mode 0600): set SECRET_KEY_FILE to it where workers "
               "run, and keep a copy in a safe place.",
               path);
    print_line("The public half is in the database.");
    if (marked)
        print_line("These connections need their key again (connection rotate-key): %s", marked);
    free(marked);
    return true;
}

const struct command setup_commands[] = {
    { .words = "migrate",
      .operands = "",
      .options = migrate_options,
      .needs = NEEDS_SERVER,
      .checks = kafka_settings_checks,
      .checks_option = "--topics",
      .summary = "create or update the tables and roles in the database",
      .details =
          "Safe to repeat, and to run several times at once. Requires the owner of schema klaviyo\n"
          "or, where there is none, a user who may create it. If that user may not create roles,\n"
          "the statements for that are printed instead.\n"
          "\n"
          "Topics are KAFKA_TOPIC, KAFKA_DEAD_LETTER_TOPIC (one partition, kept for 30 days) and\n"
          "KAFKA_OUTCOME_TOPIC. With three brokers or more, two must have a record before it is\n"
          "acknowledged (min.insync.replicas). A topic that exists is left as it is.",
      .run = migrate },
    { .words = "keygen",
      .who = ADMINS,
      .operands = "",
      .options = keygen_options,
      .needs = NEEDS_DATABASE,
      .summary = "make the key pair that seals API keys",
      .details =
          "The private half goes to a file that `run` and commands with --direct need; the public\n"
          "half goes into the database, where it can seal keys but not open them.",
      .run = keygen },
    { .words = "check",
      .operands = "",
      .options = (const struct option_spec[]){ OPTION_JSON, OPTIONS_END },
      .needs = NEEDS_SETTINGS,
      .summary = "check settings, database, Kafka, topics and keys; change nothing",
      .details = "Lists every problem there is, not just the first.",
      .run = check_run },
    { .words = NULL },
};
