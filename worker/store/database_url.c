#include "worker/store/database_url.h"

#include <libpq-fe.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "common/parse.h"

#define ESCAPE_HINT                                                          \
    "in a user name and a password each of / @ : ? # %% and blanks must be " \
    "percent-encoded (/ as %%2F, @ as %%40)"

/* What programs in other languages call the same thing; the longest first. */
static const char *const other_schemes[] = {
    "jdbc:",
    "postgresql+psycopg2:",
    "postgresql+psycopg:",
    "postgresql+asyncpg:",
    "postgres+asyncpg:",
    "postgresql+pg8000:",
    "mysql:",
    "mariadb:",
    "sqlserver:",
    "sqlite:",
    "odbc:",
    "http:",
    "https:",
};

static const char *const ssl_modes[] = {
    "disable", "allow", "prefer", "require", "verify-ca", "verify-full",
};

static bool starts_with(const char *text, const char *start)
{
    return strncasecmp(text, start, strlen(start)) == 0;
}

/* What editors, shells and other programs leave around a URL. */
static bool check_beginning(const char *text, struct error *err)
{
    static const char *const marks[] = { "\xef\xbb\xbf", "\xff\xfe", "\xfe\xff" };

    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strncmp(text, marks[i], strlen(marks[i])) == 0)
            return error_set(err, ERROR_INPUT,
                             "begins with a byte order mark: save it as UTF-8 without one");
    if (*text == '"' || *text == '\'')
        return error_set(err, ERROR_INPUT, "is in quotes: write it without them");
    if (starts_with(text, "DATABASE_URL") || starts_with(text, "export "))
        return error_set(err, ERROR_INPUT,
                         "begins with the name of the setting: only the value belongs here");
    return true;
}

/* Bytes of a scheme and its "://" at the beginning; 0: there is none. */
static size_t scheme_bytes(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-:");
    const char *end = strstr(text, "://");

    return end && (size_t)(end - text) <= n ? (size_t)(end - text) + 3 : 0;
}

static bool is_uri(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0;
}

static bool check_scheme(const char *text, struct error *err)
{
    if (is_uri(text))
        return true;
    for (size_t i = 0; i < sizeof other_schemes / sizeof other_schemes[0]; i++)
        if (starts_with(text, other_schemes[i]))
            return error_set(err, ERROR_INPUT,
                             "begins with %s, which is another program's: write "
                             "postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                             other_schemes[i]);
    if (scheme_bytes(text) > 0)
        return error_set(err, ERROR_INPUT,
                         "begins with another scheme: write postgresql:// in lower-case letters");
    return true;
}

/*
 * libpq takes what is before the first @ for user and password where no / stands
 * before it. Another @ in front of the query was meant for the password.
 */
static bool has_stray_at(const char *uri)
{
    const char *host = uri + scheme_bytes(uri);
    const char *at = memchr(host, '@', strcspn(host, "/"));

    if (at)
        host = at + 1;
    return memchr(host, '@', strcspn(host, "?")) != NULL;
}

static bool check_ports(const char *ports)
{
    char one[8];
    int64_t port;

    while (*ports) {
        size_t n = strcspn(ports, ",");
        if (n >= sizeof one)
            return false;
        memcpy(one, ports, n);
        one[n] = '\0';
        if (n > 0 && !parse_int64(one, 1, 65535, &port))
            return false;
        ports += n + (ports[n] == ',');
    }
    return true;
}

static bool is_ssl_mode(const char *mode)
{
    for (size_t i = 0; i < sizeof ssl_modes / sizeof ssl_modes[0]; i++)
        if (strcmp(mode, ssl_modes[i]) == 0)
            return true;
    return false;
}

static bool check_value(const PQconninfoOption *option, bool uri, struct error *err)
{
    if (!option->val)
        return true;
    if (strcmp(option->keyword, "port") == 0 && !check_ports(option->val))
        return uri ? error_set(err, ERROR_INPUT,
                               "names a port that is no number from 1 to 65535: " ESCAPE_HINT)
                   : error_set(err, ERROR_INPUT, "names a port that is no number from 1 to 65535");
    if (strcmp(option->keyword, "sslmode") == 0 && !is_ssl_mode(option->val))
        return error_set(err, ERROR_INPUT,
                         "names an sslmode that is not one of disable, allow, prefer, require, "
                         "verify-ca, verify-full");
    return true;
}

static bool check_values(const PQconninfoOption *options, bool uri, struct error *err)
{
    for (const PQconninfoOption *option = options; option->keyword; option++)
        if (!check_value(option, uri, err))
            return false;
    return true;
}

static bool check_meaning(const char *text, struct error *err)
{
    bool uri = is_uri(text);
    char *words = NULL; /* libpq's quote the text; it has none for want of memory */
    PQconninfoOption *options = PQconninfoParse(text, &words);
    bool no_memory = !options && !words;

    PQfreemem(words);
    if (no_memory)
        return error_no_memory(err);
    if (!options)
        return uri ? error_set(err, ERROR_INPUT, "is not a valid URL: " ESCAPE_HINT)
                   : error_set(err, ERROR_INPUT,
                               "is not a connection string: write postgresql://USER:PASSWORD@HOST:"
                               "PORT/DATABASE, or keyword=value pairs of libpq, where a value with "
                               "blanks or quotes must be in single quotes");
    bool ok = check_values(options, uri, err);
    PQconninfoFree(options);
    return ok;
}

bool database_url_check(const char *text, struct error *err)
{
    if (!check_beginning(text, err) || !check_scheme(text, err))
        return false;
    if (is_uri(text) && has_stray_at(text))
        return error_set(err, ERROR_INPUT, "is not a valid URL: " ESCAPE_HINT);
    return check_meaning(text, err);
}
