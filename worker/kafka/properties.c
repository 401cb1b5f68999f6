#include "worker/kafka/properties.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 65536 };

/*
 * What the worker's guarantees need. A line that agrees is accepted and skipped, so that
 * a file may serve other clients, too; one that contradicts is refused, so that nobody
 * believes that it counts. What depends on a
 * setting is handle_config.c's: brokers and group.
 */
static const struct {
    const char *name;
    const char *holds; /* librdkafka's spellings, the first for people; NULL: it cannot be set */
    const char *why;
} fixed[] = {
    { "group.instance.id", NULL, "the worker is no static member" },
    { "partition.assignment.strategy", "cooperative-sticky", "the worker needs it" },
    /* librdkafka's timer commits what the worker stores: for a site that is not automatic. */
    { "enable.auto.commit", "false|f|0", "the worker commits what has ended" },
    { "auto.commit.enable", "false|f|0", "the worker commits what has ended" },
    { "enable.auto.offset.store", "false|f|0", "the worker commits what has ended" },
    { "enable.partition.eof", "true|t|1", "the worker needs to hear of a partition's end" },
    { "auto.offset.reset", "earliest|smallest|beginning",
      "the worker begins at the earliest event, so that none is lost" },
    { "enable.idempotence", "true|t|1", "the worker writes idempotently" },
    { "acks", "all|-1", "the worker waits for all replicas" },
    { "request.required.acks", "all|-1", "the worker waits for all replicas" },
    { "batch.num.messages", "1", "the worker sends letter by letter" },
    { "max.in.flight.requests.per.connection", "1", "the worker sends letter by letter" },
    { "max.in.flight", "1", "the worker sends letter by letter" },
    { "transactional.id", NULL, "the worker uses no transactions" },
    { "queued.min.messages", "10000", "the worker bounds what it holds" },
    { "queued.max.messages.kbytes", "4096", "the worker bounds what it holds" },
    { "allow.auto.create.topics", "false|f|0", "the worker makes no topics" },
    { "plugin.library.paths", NULL, "the worker loads no plugins" },
};

enum { NOT_FIXED = -1 };

/* Its row. */
static int find_fixed(const char *name)
{
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (strcmp(name, fixed[i].name) == 0)
            return (int)i;
    return NOT_FIXED;
}

/* Is it one of the words of "true|t|1", in any case? */
static bool is_one_of(const char *words, const char *value)
{
    for (size_t n; words && *words; words += n + (words[n] == '|')) {
        n = strcspn(words, "|");
        if (strlen(value) == n && strncasecmp(words, value, n) == 0)
            return true;
    }
    return false;
}

static bool refuse(int row, const char *path, unsigned number, struct error *err)
{
    const char *holds = fixed[row].holds;

    if (!holds)
        return error_set(err, ERROR_FATAL,
                         "KAFKA_CONFIG_FILE: %s line %u: %s cannot be set here: %s", path, number,
                         fixed[row].name, fixed[row].why);
    return error_set(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: %s line %u: %s must be %.*s here: %s",
                     path, number, fixed[row].name, (int)strcspn(holds, "|"), holds,
                     fixed[row].why);
}

static char *read_text(const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        error_errno(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: reading %s", path);
        return NULL;
    }

    char *text = calloc(1, FILE_MAX_BYTES + 1);
    size_t n = text ? fread(text, 1, FILE_MAX_BYTES + 1, file) : 0;
    bool failed = ferror(file) != 0;
    (void)fclose(file);

    if (!text)
        error_no_memory(err);
    else if (failed)
        error_set(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: %s cannot be read", path);
    else if (n > FILE_MAX_BYTES)
        error_set(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: %s is longer than 65536 bytes", path);
    else if (memchr(text, '\0', n))
        error_set(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: %s holds a NUL byte", path);
    else
        return text;
    if (text)
        explicit_bzero(text, FILE_MAX_BYTES + 1);
    free(text);
    return NULL;
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    for (size_t n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--)
        text[n - 1] = '\0';
    return text;
}

static bool is_name(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._") == strlen(text);
}

/* Cuts the line in place. An unknown name is not shown: it may be part of a secret. */
static bool add_line(struct properties *properties, char *line, unsigned number, const char *path,
                     struct error *err)
{
    char *equals = strchr(line, '=');

    if (!equals)
        return error_set(err, ERROR_FATAL, "KAFKA_CONFIG_FILE: %s line %u is not property=value",
                         path, number);
    *equals = '\0';
    const char *name = trim(line);
    if (!is_name(name))
        return error_set(err, ERROR_FATAL,
                         "KAFKA_CONFIG_FILE: %s line %u does not begin with a property's name",
                         path, number);
    if (strncmp(name, "topic.", 6) == 0 && find_fixed(name + 6) != NOT_FIXED)
        name += 6; /* as librdkafka does */
    const char *value = trim(equals + 1);
    int row = find_fixed(name);
    if (row == NOT_FIXED)
        properties->items[properties->n++] =
            (struct property){ .name = name, .value = value, .line = number };
    return row == NOT_FIXED || is_one_of(fixed[row].holds, value) || refuse(row, path, number, err);
}

static size_t count_lines(const char *text)
{
    size_t n = 1;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static bool add_lines(struct properties *properties, const char *path, struct error *err)
{
    char *rest = properties->text;
    unsigned number = 0;

    for (char *line; (line = strsep(&rest, "\n"));) {
        number++;
        line = trim(line);
        if (*line && *line != '#' && !add_line(properties, line, number, path, err))
            return false;
    }
    return true;
}

bool properties_load(struct properties *properties, const char *path, struct error *err)
{
    struct properties loaded = PROPERTIES_INIT;

    if (*path) {
        loaded.text = read_text(path, err);
        if (!loaded.text)
            return false;
        loaded.items = calloc(count_lines(loaded.text), sizeof *loaded.items);
        if (!loaded.items) {
            properties_release(&loaded);
            return error_no_memory(err);
        }
        if (!add_lines(&loaded, path, err)) {
            properties_release(&loaded);
            return false;
        }
    }
    *properties = loaded;
    return true;
}

/* FNV-1a; with the NUL, so that texts do not run into each other. */
static uint64_t add_to_digest(uint64_t digest, const char *text)
{
    do {
        digest = (digest ^ (unsigned char)*text) * UINT64_C(1099511628211);
    } while (*text++);
    return digest;
}

uint64_t properties_digest(const struct properties *properties)
{
    uint64_t digest = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < properties->n; i++) {
        digest = add_to_digest(digest, properties->items[i].name);
        digest = add_to_digest(digest, properties->items[i].value);
    }
    return digest;
}

const char *properties_find(const struct properties *properties, const char *name)
{
    for (size_t i = properties->n; i > 0; i--)
        if (strcmp(properties->items[i - 1].name, name) == 0)
            return properties->items[i - 1].value;
    return NULL;
}

void properties_release(struct properties *properties)
{
    if (properties->text)
        explicit_bzero(properties->text, FILE_MAX_BYTES + 1);
    free(properties->text);
    free(properties->items);
    *properties = PROPERTIES_INIT;
}
