#include "worker/admin/run_service.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/process.h"
#include "common/seal.h"
#include "common/version.h"
#include "worker/cli/print.h"
#include "worker/kafka/kafka_settings.h"
#include "worker/klaviyo/client.h"
#include "worker/service/service.h"
#include "worker/service/shutdown_deadline.h"
#include "worker/service/wiring.h"
#include "worker/store/key_pairs.h"
#include "worker/store/migration.h"
#include "worker/store/site_check.h"

static bool load_pair(const struct settings *settings, struct seal_pair *pair, struct error *err)
{
    return seal_pair_load(pair, settings->secret_key_file, err) ||
           error_wrap(err, "SECRET_KEY_FILE");
}

/* A pipe can be read once only: by start(). */
static bool is_pipe(const char *path)
{
    struct stat status;

    return strcmp(path, "-") == 0 || (stat(path, &status) == 0 && S_ISFIFO(status.st_mode));
}

static bool check_key_file(const struct settings *settings, struct error *err)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;

    if (!*settings->secret_key_file)
        return error_set(err, ERROR_INPUT,
                         "SECRET_KEY_FILE is not set: run opens the stored API keys with it");
    return is_pipe(settings->secret_key_file) || load_pair(settings, &pair, err);
}

/*
 * What must be true before the first event is taken: a key file that belongs to
 * the database's newest pair. Everything later is the service's.
 */
static bool check_pair(struct db *db, const struct seal_pair *pair, int64_t *key_pair_id,
                       struct error *err)
{
    struct key_pair newest;

    if (!key_pairs_newest(db, &newest, err))
        return false;
    if (newest.key_pair_id == 0)
        return error_set(err, ERROR_INPUT,
                         "the database has no key pair: run klaviyo-worker keygen --out FILE");
    if (memcmp(pair->public_key, newest.public_key, SEAL_KEY_BYTES) != 0)
        return error_set(
            err, ERROR_INPUT,
            "SECRET_KEY_FILE does not belong to the database's newest key pair: set it "
            "to the file that was made with that pair");
    *key_pair_id = newest.key_pair_id;
    return true;
}

/* "host:pid": tells this process from others in listings. */
static void name_worker(char *name, size_t size)
{
    char host[65] = "";

    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, size, "%s:%ld", host, (long)getpid());
}

/* What startup_wait() tries: the database, its tables, its user, its key pair. */
struct database_check {
    const struct settings *settings;
    const struct seal_pair *pair;
    struct slots_options *options; /* the pair's number is noted here */
};

static bool check_database(void *opaque, const int *stop_fd, struct error *err)
{
    const struct database_check *check = opaque;
    const struct db_options how = { .url = check->settings->database_url,
                                    .name = "klaviyo-worker start",
                                    .service = true,
                                    .stop_fd = stop_fd };
    CLEANUP(db_freep) struct db *db = NULL;

    return db_open(&db, &how, err) && migration_check(db, err) && site_check_worker(db, err) &&
           check_pair(db, check->pair, &check->options->key_pair_id, err);
}

static bool serve(const struct settings *settings, const struct seal_pair *pair, struct error *err)
{
    char worker[96];
    struct run_control control = { 0 };
    struct run_metrics run_metrics = { 0 };
    struct service_metrics metrics;
    struct slots_options options = { .settings = settings,
                                     .pair = pair,
                                     .worker = worker,
                                     .user_agent = version_user_agent(),
                                     .control = &control,
                                     .run_metrics = &run_metrics };
    struct database_check check = { settings, pair, &options };
    const struct startup_check startup = { check_database, &check };

    name_worker(worker, sizeof worker);
    service_metrics_init(&metrics);
    bool ok = service_run(&options, &startup, &metrics, err);
    service_metrics_release(&metrics);
    return ok;
}

/*
 * At the end: for the log's last lines to be written, and for the error of a run
 * that failed to be printed, where nobody may be reading stderr.
 */
enum { LAST_LINES_MS = 1000, REPORT_MS = 5000 };

/* A revision lives two years; upgrading within 12 to 18 months is Klaviyo's advice. */
enum { REVISION_OLD_DAYS = 548 };

static void warn_of_old_revision(const char *revision)
{
    char day[sizeof "2026-10-15T00:00:00Z"];
    int64_t from_us;

    (void)snprintf(day, sizeof day, "%.10sT00:00:00Z", revision);
    if (!parse_rfc3339(day, strlen(day), &from_us))
        return; /* settings_load() has refused it */
    int64_t days = (clock_utc_us() - from_us) / (INT64_C(86400) * 1000000);
    if (days > REVISION_OLD_DAYS)
        log_warn("klaviyo_revision_old", LOG_STR("revision", revision), LOG_INT("days", days));
}

static void warn_of_exposed_file(const char *setting, const char *path)
{
    if (path && *path && secret_file_exposed(path))
        log_warn("secret_file_exposed", LOG_STR("setting", setting), LOG_STR("file", path));
}

/*
 * Bodies of megabytes come and go. Left to itself the allocator learns to keep
 * such blocks for later, a pool per thread; so they are returned at once.
 */
static void bound_memory(void)
{
    /* NOLINTBEGIN(concurrency-mt-unsafe): no thread runs yet */
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    (void)mallopt(M_ARENA_MAX, 2);
    /* NOLINTEND(concurrency-mt-unsafe) */
}

static bool start(struct context *context, struct error *err)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    const struct settings *settings = context->settings;

    warn_of_old_revision(settings->klaviyo_revision);
    warn_of_exposed_file("SECRET_KEY_FILE", settings->secret_key_file);
    warn_of_exposed_file("KAFKA_CONFIG_FILE", settings->kafka_config_file);
    warn_of_exposed_file("DATABASE_URL_FILE", settings->database_url.file);
    if (!load_pair(settings, &pair, err)) {
        context->wrong_settings = err->kind != ERROR_RETRY; /* a new start would not help */
        return false;
    }
    if (!client_library_init(err))
        return false;
    bool ok = serve(settings, &pair, err);
    client_library_release();
    return ok;
}

static bool run(struct context *context, struct error *err)
{
    const struct settings *settings = context->settings;

    bound_memory();
    process_raise_descriptor_limit();
    service_block_signals();
    log_init(settings->log_level, settings->log_format);
    if (!log_start_writer(err))
        return false;
    bool ok = start(context, err);
    log_stop_writer(LAST_LINES_MS);
    if (!ok)
        shutdown_deadline_arm(clock_ms() + REPORT_MS);
    return ok;
}

static void print_settings(void)
{
    print_text("\nSettings, from the environment:\n\n");
    settings_print_help(stdout);
}

static settings_file_check *const checks[] = { check_key_file, kafka_settings_check, NULL };

const struct command run_commands[] = {
    { .words = "run",
      .who = WORKERS,
      .operands = "",
      .needs = NEEDS_SETTINGS,
      .checks = checks,
      .summary = "consume refresh events and run exports until SIGTERM",
      .details = "Any number may run at once: they share the work.",
      .print_details = print_settings,
      .run = run },
    { .words = NULL },
};
