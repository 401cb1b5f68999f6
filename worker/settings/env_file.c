#include "worker/settings/env_file.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/strbuf.h"

enum { FILE_MAX_BYTES = 64 * 1024, PATH_BYTES = 4096 };

static const char BLANKS[] = " \t\r";

struct reader {
    const char *path;
    const char *at; /* ends with a NUL */
    int line;
};

static bool wrong_line(const struct reader *reader, const char *what, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s, line %d: %s", reader->path, reader->line, what);
}

static void skip_line(struct reader *reader)
{
    reader->at += strcspn(reader->at, "\n");
    if (*reader->at == '\n') {
        reader->at++;
        reader->line++;
    }
}

/* A letter or an underscore, then digits, too. */
static bool read_name(struct reader *reader, struct strbuf *name, struct error *err)
{
    const char *begin = reader->at;

    while (isalnum((unsigned char)*reader->at) || *reader->at == '_')
        reader->at++;
    strbuf_add(name, begin, (size_t)(reader->at - begin));
    if (reader->at == begin || isdigit((unsigned char)*begin) || *reader->at != '=')
        return wrong_line(reader, "is not NAME=value", err);
    reader->at++;
    return true;
}

/* What a backslash makes of the next character; at a line's end: nothing, the line continues. */
static void read_escaped(struct reader *reader, struct strbuf *value)
{
    reader->at++;
    if (*reader->at == '\0')
        return;
    if (*reader->at == '\n')
        reader->line++;
    else
        strbuf_add(value, reader->at, 1);
    reader->at++;
}

static bool read_quoted(struct reader *reader, struct strbuf *value, struct error *err)
{
    char quote = *reader->at++;

    while (*reader->at && *reader->at != quote) {
        if (*reader->at == '\\' && quote == '"') {
            read_escaped(reader, value);
            continue;
        }
        reader->line += *reader->at == '\n';
        strbuf_add(value, reader->at++, 1);
    }
    if (*reader->at != quote)
        return wrong_line(reader, "a quote is not closed", err);
    reader->at++;
    return true;
}

/* Up to the line's end, without blanks around it that are neither quoted nor escaped. */
static bool read_value(struct reader *reader, struct strbuf *value, struct error *err)
{
    size_t kept = 0;

    reader->at += strspn(reader->at, BLANKS);
    while (*reader->at && *reader->at != '\n') {
        bool is_blank = strchr(BLANKS, *reader->at) != NULL;

        if (*reader->at == '"' || *reader->at == '\'') {
            if (!read_quoted(reader, value, err))
                return false;
        } else if (*reader->at == '\\') {
            read_escaped(reader, value);
        } else {
            strbuf_add(value, reader->at++, 1);
        }
        if (!is_blank)
            kept = value->len;
    }
    if (strbuf_ok(value))
        strbuf_rewind(value, kept);
    return true;
}

static bool set(const struct strbuf *name, const struct strbuf *value, struct error *err)
{
    if (!strbuf_ok(name) || !strbuf_ok(value))
        return error_no_memory(err);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no thread runs yet */
    if (setenv(name->data, value->len ? value->data : "", 0) != 0)
        return error_no_memory(err);
    return true;
}

static bool read_assignment(struct reader *reader, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf name = STRBUF_INIT(FILE_MAX_BYTES);
    CLEANUP(strbuf_release) struct strbuf value = STRBUF_INIT(FILE_MAX_BYTES);

    return read_name(reader, &name, err) && read_value(reader, &value, err) &&
           set(&name, &value, err);
}

static bool read_assignments(const char *path, const char *text, struct error *err)
{
    struct reader reader = { .path = path, .at = text, .line = 1 };

    while (*reader.at) {
        reader.at += strspn(reader.at, BLANKS);
        if (*reader.at && !strchr("#;\n", *reader.at) && !read_assignment(&reader, err))
            return false;
        skip_line(&reader);
    }
    return true;
}

static bool read_whole(int fd, const char *path, struct strbuf *text, struct error *err)
{
    char bytes[4096];
    ssize_t n;

    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        strbuf_add(text, bytes, (size_t)n);
    if (n < 0)
        return error_errno(err, ERROR_INPUT, "cannot read %s", path);
    if (!strbuf_ok(text) && text->len + sizeof bytes <= text->max)
        return error_no_memory(err);
    if (!strbuf_ok(text) || (text->data && strlen(text->data) != text->len))
        return error_set(err, ERROR_INPUT, "%s is no file of settings: it is too long, or binary",
                         path);
    return true;
}

bool env_file_load(const char *path, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(FILE_MAX_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_errno(err, ERROR_INPUT, "cannot open the file of settings %s", path);
    bool ok = read_whole(fd, path, &text, err);
    (void)close(fd);
    return ok && read_assignments(path, text.data ? text.data : "", err);
}

/* ---- the package's folder ---- */

static bool is_any_set(const char *const names[])
{
    for (; *names; names++)
        if (getenv(*names)) /* NOLINT(concurrency-mt-unsafe): no thread runs yet */
            return true;
    return false;
}

static void offer(const char *folder, const char *file, const char *variable,
                  const char *const unless[])
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    if (!is_any_set(unless) && access(path, R_OK) == 0)
        (void)setenv(variable, path, 0); /* NOLINT(concurrency-mt-unsafe): no thread runs yet */
}

bool env_folder_load(const char *folder, struct error *err)
{
    /* libpq's own variables name a database, too. */
    static const char *const database[] = {
        "DATABASE_URL", "DATABASE_URL_FILE", "PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", NULL
    };
    static const char *const key[] = { "SECRET_KEY_FILE", NULL };
    static const char *const kafka[] = { "KAFKA_CONFIG_FILE", NULL };
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/klaviyo-worker.env", folder);
    if (access(path, R_OK) != 0)
        return true;
    if (!env_file_load(path, err))
        return false;
    offer(folder, "database-url", "DATABASE_URL_FILE", database);
    offer(folder, "secret.key", "SECRET_KEY_FILE", key);
    offer(folder, "kafka.properties", "KAFKA_CONFIG_FILE", kafka);
    return true;
}

const char *env_folder_of_package(void)
{
    return SETTINGS_FOLDER;
}
