#include "worker/settings/settings.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base_url.h"
#include "common/parse.h"
#include "common/strbuf.h"

enum { PROBLEMS_MAX_BYTES = 1400, LINE_MAX_BYTES = 1000, SECRET_MAX_BYTES = 16384 };

enum type {
    TEXT,
    TEXT_OR_OFF,
    OPTIONAL,
    SECRET,
    NUMBER,
    URL,
    AUTHORITIES,
    REVISION,
    LISTEN,
    LEVEL,
    FORMAT
};

struct setting {
    const char *name;
    enum type type;
    size_t offset;
    const char *fallback;
    int64_t min, max;
    const char *help;
};

#define AT(member) offsetof(struct settings, member)

/* clang-format off */
static const struct setting table[] = {
    { "DATABASE_URL", SECRET, AT(database_url), "", 0, 0,
      "libpq connection string or URI (default: libpq's own PG* variables); DATABASE_URL_FILE names a file to read it from" },
    { "KAFKA_BOOTSTRAP_SERVERS", TEXT, AT(kafka_bootstrap_servers), "localhost:9092", 0, 0,
      "host:port of one or more brokers, separated by commas; where it is not set, bootstrap.servers in KAFKA_CONFIG_FILE counts" },
    { "KAFKA_CONFIG_FILE", OPTIONAL, AT(kafka_config_file), "", 0, 0,
      "file of property=value lines handed to librdkafka as they are (SASL, TLS); a change takes effect within seconds" },
    { "KAFKA_TOPIC", TEXT, AT(kafka_topic), "segment-refresh", 0, 0,
      "topic of the refresh events" },
    { "KAFKA_DEAD_LETTER_TOPIC", TEXT, AT(kafka_dead_letter_topic), "segment-refresh.dead-letter", 0, 0,
      "topic of the events that came to nothing" },
    { "KAFKA_OUTCOME_TOPIC", TEXT_OR_OFF, AT(kafka_outcome_topic), "segment-export", 0, 0,
      "topic of the events that say how exports ended; empty turns them off" },
    { "KAFKA_GROUP_ID", TEXT, AT(kafka_group_id), "klaviyo-worker", 0, 0,
      "consumer group that the workers share" },
    { "KLAVIYO_BASE_URL", URL, AT(klaviyo_base_url), "https://a.klaviyo.com", 0, 0,
      "where the Klaviyo API is; http:// only towards this machine, unless KLAVIYO_ALLOW_HTTP=1" },
    { "KLAVIYO_REVISION", REVISION, AT(klaviyo_revision), "2026-10-15", 0, 0,
      "API revision sent with each request; over 18 months old: a warning" },
    { "KLAVIYO_CA_FILE", AUTHORITIES, AT(klaviyo_ca_file), "", 0, 0,
      "file of the authorities (PEM) that may sign Klaviyo's or a proxy's certificate (default: SSL_CERT_FILE or CURL_CA_BUNDLE, else the system's)" },
    { "SECRET_KEY_FILE", OPTIONAL, AT(secret_key_file), "", 0, 0,
      "private half of the key pair that opens stored API keys; needed by run and by commands with --direct" },
    { "HTTP_LISTEN", LISTEN, AT(http_listen), "127.0.0.1:8080", 0, 0,
      "address of health, metrics and status page; empty turns it off" },
    { "HTTP_HOSTS", OPTIONAL, AT(http_hosts), "", 0, 0,
      "further host names under which status page and API answer, separated by commas; .example.com: all that end so" },
    { "MAX_RUNS", NUMBER, AT(max_runs), "4", 1, 64,
      "exports running at once in this process" },
    { "LEASE_SECONDS", NUMBER, AT(lease_seconds), "15", 2, 300,
      "a run not renewed for this long may be taken by another worker" },
    { "DRAIN_SECONDS", NUMBER, AT(drain_seconds), "35", 0, 3600,
      "how long SIGTERM waits for in-flight requests" },
    { "RETRY_BUDGET_SECONDS", NUMBER, AT(retry_budget_seconds), "900", 1, 86400,
      "how long a run may continue without progress before it fails" },
    { "REQUEST_TIMEOUT_SECONDS", NUMBER, AT(request_timeout_seconds), "30", 1, 600,
      "time-out of one HTTP request" },
    { "POLL_INTERVAL_MIN_MS", NUMBER, AT(poll_interval_min_ms), "1000", 10, 600000,
      "first interval between polls of an import job, in milliseconds" },
    { "POLL_INTERVAL_MAX_MS", NUMBER, AT(poll_interval_max_ms), "15000", 10, 600000,
      "longest interval between polls of an import job, in milliseconds" },
    { "RETENTION_DAYS", NUMBER, AT(retention_days), "30", 1, 3650,
      "ended runs, requests and rejections older than this are deleted" },
    { "LOG_LEVEL", LEVEL, AT(log_level), "info", 0, 0,
      "debug, info, warn or error" },
    { "LOG_FORMAT", FORMAT, AT(log_format), "", 0, 0,
      "json or text (default: text on a terminal, json elsewhere)" },
};
/* clang-format on */

struct shown_range {
    char text[48];
};

enum { N_SETTINGS = sizeof table / sizeof table[0] };

/* Adds a line to the problems; false, so that a check can end with it. */
static bool add_line(struct strbuf *problems, const char *line)
{
    strbuf_addf(problems, "%s%.*s", problems->len ? "\n" : "", LINE_MAX_BYTES, line);
    return false;
}

/* The same: "NAME what". */
static bool problem(struct strbuf *problems, const char *name, const char *what)
{
    strbuf_addf(problems, "%s%s %.*s", problems->len ? "\n" : "", name, LINE_MAX_BYTES, what);
    return false;
}

static const char *environment(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe): no thread runs yet */
}

static bool is_set(const char *name)
{
    const char *text = environment(name);

    return text && *text;
}

/* For test set-ups, and gateways inside of a pod's or a host's own network. */
static bool allows_http(void)
{
    const char *allowed = environment("KLAVIYO_ALLOW_HTTP");

    return allowed && strcmp(allowed, "1") == 0;
}

static bool check_url(const char *name, const char *text, struct strbuf *problems)
{
    struct error why = ERROR_INIT;

    if (!base_url_check(text, allows_http(), &why))
        return problem(problems, name, why.text);
    if (text[strlen(text) - 1] == '/')
        return problem(problems, name, "must not end with a slash");
    return true;
}

/* Where ours is not set: the variables of OpenSSL's and curl's own programs. */
static const char *usual_authorities(void)
{
    static const char *const names[] = { "SSL_CERT_FILE", "CURL_CA_BUNDLE" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = environment(names[i]);
        if (path && *path)
            return path;
    }
    return "";
}

static bool check_readable(const char *name, const char *path, struct strbuf *problems)
{
    struct error why = ERROR_INIT;

    if (!*path || access(path, R_OK) == 0)
        return true;
    (void)error_errno(&why, ERROR_INPUT, "names the file %s, which cannot be read", path);
    return problem(problems, name, why.text);
}

/* "2026-10-15" or "2026-10-15.pre". */
static bool check_revision(const char *name, const char *text, struct strbuf *problems)
{
    char day[sizeof "2026-10-15T00:00:00Z"];
    int64_t us;

    if (strlen(text) >= 10) {
        (void)snprintf(day, sizeof day, "%.10sT00:00:00Z", text);
        if (parse_rfc3339(day, strlen(day), &us) && (text[10] == '\0' || text[10] == '.'))
            return true;
    }
    return problem(problems, name, "is not a revision: a date such as 2026-10-15");
}

static bool check_listen(const char *name, const char *text, struct strbuf *problems)
{
    const char *colon = strrchr(text, ':');
    int64_t port;

    if (!*text || (colon && colon > text && parse_int64(colon + 1, 0, 65535, &port)))
        return true;
    return problem(problems, name, "is not host:port, such as 127.0.0.1:8080");
}

static bool apply_number(const struct setting *s, const char *text, char *member,
                         struct strbuf *problems)
{
    int64_t number;

    if (!parse_int64(text, s->min, s->max, &number)) {
        strbuf_addf(problems, "%s%s is not a whole number from %lld to %lld",
                    problems->len ? "\n" : "", s->name, (long long)s->min, (long long)s->max);
        return false;
    }
    memcpy(member, &number, sizeof number);
    return true;
}

static bool apply_level(const struct setting *s, const char *text, char *member,
                        struct strbuf *problems)
{
    enum log_level level;

    if (!log_level_parse(text, &level))
        return problem(problems, s->name, "is not one of debug, info, warn, error");
    memcpy(member, &level, sizeof level);
    return true;
}

static bool apply_format(const struct setting *s, const char *text, char *member,
                         struct strbuf *problems)
{
    enum log_format format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;

    if (strcmp(text, "text") == 0)
        format = LOG_FORMAT_TEXT;
    else if (strcmp(text, "json") == 0)
        format = LOG_FORMAT_JSON;
    else if (*text)
        return problem(problems, s->name, "is neither json nor text");
    memcpy(member, &format, sizeof format);
    return true;
}

/* Empty means off, not: not set. */
static bool may_be_empty(enum type type)
{
    return type == LISTEN || type == TEXT_OR_OFF;
}

/* What the setting is set to: the variable or the default. */
static const char *value_of(const struct setting *s)
{
    const char *text = environment(s->name);

    return !text || (!*text && !may_be_empty(s->type)) ? s->fallback : text;
}

/* A secret's variable, or its _FILE twin, which is read again whenever the secret is needed. */
static bool apply_secret(const struct setting *s, char *member, settings_check *check,
                         struct strbuf *problems, bool *for_now)
{
    char twin[64];
    struct error why = ERROR_INIT;
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;

    (void)snprintf(twin, sizeof twin, "%s_FILE", s->name);
    const char *file = environment(twin);
    const struct secret_source source = { .text = value_of(s), .file = file ? file : "" };
    const char *name = *source.file ? twin : s->name;
    if (*source.file && *source.text)
        return problem(problems, twin, "and its twin without _FILE are both set: keep one");
    if (!secret_source_read(&source, SECRET_MAX_BYTES, &secret, &why) ||
        (check && !check(secret.bytes, &why))) {
        *for_now |= why.kind == ERROR_RETRY;
        return problem(problems, name, why.text);
    }
    memcpy(member, &source, sizeof source);
    return true;
}

static bool apply_text(const struct setting *s, const char *text, char *member,
                       struct strbuf *problems)
{
    if (s->type == URL && !check_url(s->name, text, problems))
        return false;
    if (s->type == AUTHORITIES && !*text)
        text = usual_authorities();
    if (s->type == AUTHORITIES && !check_readable(s->name, text, problems))
        return false;
    if (s->type == REVISION && !check_revision(s->name, text, problems))
        return false;
    if (s->type == LISTEN && !check_listen(s->name, text, problems))
        return false;
    memcpy(member, &text, sizeof text);
    return true;
}

/*
 * True, or the reason is added to problems; for_now: it may be none later. A secret's value is
 * never part of it.
 */
static bool apply(struct settings *settings, const struct setting *s,
                  settings_check *check_database_url, struct strbuf *problems, bool *for_now)
{
    char *member = (char *)settings + s->offset;
    const char *text = value_of(s);

    switch (s->type) {
    case NUMBER:
        return apply_number(s, text, member, problems);
    case LEVEL:
        return apply_level(s, text, member, problems);
    case FORMAT:
        return apply_format(s, text, member, problems);
    case SECRET:
        return apply_secret(s, member, check_database_url, problems, for_now);
    case TEXT:
    case TEXT_OR_OFF:
    case OPTIONAL:
    case URL:
    case AUTHORITIES:
    case REVISION:
    case LISTEN:
        break;
    }
    return apply_text(s, text, member, problems);
}

/* A worker that reads what it writes would answer itself for ever. */
static bool check_topics(const struct settings *loaded, struct strbuf *problems)
{
    const char *events = loaded->kafka_topic, *letters = loaded->kafka_dead_letter_topic;
    const char *outcomes = loaded->kafka_outcome_topic;
    bool ok = true;

    if (strcmp(letters, events) == 0)
        ok = problem(problems, "KAFKA_DEAD_LETTER_TOPIC", "is KAFKA_TOPIC");
    if (strcmp(outcomes, events) == 0)
        ok = problem(problems, "KAFKA_OUTCOME_TOPIC", "is KAFKA_TOPIC");
    if (strcmp(outcomes, letters) == 0)
        ok = problem(problems, "KAFKA_OUTCOME_TOPIC", "is KAFKA_DEAD_LETTER_TOPIC");
    return ok;
}

/* Where one of the two is wrong by itself, it is 0. */
static bool check_intervals(const struct settings *loaded, struct strbuf *problems)
{
    if (loaded->poll_interval_max_ms == 0 ||
        loaded->poll_interval_min_ms <= loaded->poll_interval_max_ms)
        return true;
    return problem(problems, "POLL_INTERVAL_MIN_MS", "is more than POLL_INTERVAL_MAX_MS");
}

static bool check_files(const struct settings *loaded, settings_file_check *const *check,
                        struct strbuf *problems, bool *for_now)
{
    bool ok = true;

    for (; check && *check; check++) {
        struct error why = ERROR_INIT;

        if ((*check)(loaded, &why))
            continue;
        *for_now |= why.kind == ERROR_RETRY;
        ok = add_line(problems, why.text);
    }
    return ok;
}

/* The list is cut where it is too long, and says so. */
static bool report(const struct strbuf *problems, bool for_now, struct error *err)
{
    if (!strbuf_ok(problems) && !problems->data)
        return error_no_memory(err);
    return error_set(err, for_now ? ERROR_RETRY : ERROR_FATAL, "%s%s", problems->data,
                     strbuf_ok(problems) ? "" : "\nMore settings are wrong: correct these first");
}

bool settings_load(struct settings *settings, const struct settings_checks *checks,
                   struct error *err)
{
    static const struct settings_checks none = { .files = NULL };
    CLEANUP(strbuf_release) struct strbuf problems = STRBUF_INIT(PROBLEMS_MAX_BYTES);
    struct settings loaded = { 0 };
    bool ok = true, for_now = false;

    checks = checks ? checks : &none;
    loaded.klaviyo_allow_http = allows_http();
    loaded.kafka_bootstrap_servers_set = is_set("KAFKA_BOOTSTRAP_SERVERS");
    for (size_t i = 0; i < N_SETTINGS; i++)
        ok = apply(&loaded, &table[i], checks->database_url, &problems, &for_now) && ok;
    ok = check_intervals(&loaded, &problems) && ok;
    ok = check_topics(&loaded, &problems) && ok;
    ok = check_files(&loaded, checks->files, &problems, &for_now) && ok;
    if (!ok)
        return report(&problems, for_now, err);
    *settings = loaded;
    return true;
}

static const char *shown_default(const struct setting *s)
{
    return *s->fallback ? s->fallback : "-";
}

/* "1 to 64"; empty for what is no number. */
static struct shown_range shown_range(const struct setting *s)
{
    struct shown_range range = { .text = "" };

    if (s->type == NUMBER)
        (void)snprintf(range.text, sizeof range.text, "%" PRId64 " to %" PRId64, s->min, s->max);
    return range;
}

void settings_print_help(FILE *out)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        struct shown_range range = shown_range(&table[i]);

        (void)fprintf(out, "  %-24s %s\n  %-24s default: %s%s%s\n", table[i].name, table[i].help,
                      "", shown_default(&table[i]), *range.text ? "; range: " : "", range.text);
    }
}

void settings_print_markdown(FILE *out)
{
    (void)fputs("| name | default | range | meaning |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < N_SETTINGS; i++)
        (void)fprintf(out, "| `%s` | `%s` | %s | %s |\n", table[i].name, shown_default(&table[i]),
                      shown_range(&table[i]).text, table[i].help);
}
