#include "common/base_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "common/parse.h"

enum { HOST_MAX_BYTES = 254, PORT_MAX_BYTES = 6 };

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

struct place {
    bool encrypted;
    bool is_ipv6;
    char host[HOST_MAX_BYTES]; /* without brackets */
};

/* The n bytes as a string; false: too many, or none. */
static bool copy(char *to, size_t size, const char *from, size_t n)
{
    if (n == 0 || n >= size)
        return false;
    memcpy(to, from, n);
    to[n] = '\0';
    return true;
}

static bool parse_host(const char **rest, struct place *place)
{
    const char *at = *rest;
    struct in6_addr six;

    place->is_ipv6 = *at == '[';
    at += place->is_ipv6;
    size_t n = strspn(at, place->is_ipv6 ? "0123456789abcdefABCDEF:." : ALPHANUMERIC "-.");
    if (!copy(place->host, sizeof place->host, at, n))
        return false;
    at += n;
    if (place->is_ipv6 && (*at++ != ']' || inet_pton(AF_INET6, place->host, &six) != 1))
        return false;
    *rest = at;
    return true;
}

static bool parse_port(const char **rest)
{
    char digits[PORT_MAX_BYTES];
    int64_t port;

    if (**rest != ':')
        return true;
    size_t n = strspn(*rest + 1, "0123456789");
    if (!copy(digits, sizeof digits, *rest + 1, n) || !parse_int64(digits, 1, 65535, &port))
        return false;
    *rest += 1 + n;
    return true;
}

static bool parse(const char *url, struct place *place)
{
    place->encrypted = strncasecmp(url, "https://", 8) == 0;
    if (!place->encrypted && strncasecmp(url, "http://", 7) != 0)
        return false;

    const char *rest = url + (place->encrypted ? 8 : 7);
    if (!parse_host(&rest, place) || !parse_port(&rest))
        return false;
    return *rest == '\0' || (*rest == '/' && rest[strspn(rest, ALPHANUMERIC "-._~/")] == '\0' &&
                             !strstr(rest, ".."));
}

static bool is_loopback(const struct place *place)
{
    struct in6_addr six;
    struct in_addr four;

    if (place->is_ipv6)
        return inet_pton(AF_INET6, place->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
    if (inet_pton(AF_INET, place->host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
    return strcasecmp(place->host, "localhost") == 0;
}

bool base_url_is_loopback(const char *url)
{
    struct place place;

    return parse(url, &place) && is_loopback(&place);
}

bool base_url_check(const char *url, bool allow_http, struct error *err)
{
    struct place place;

    if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
        return error_set(err, ERROR_INPUT, "is not a URL: it must start with https://");
    if (!parse(url, &place))
        return error_set(err, ERROR_INPUT,
                         "must be https://, host and port only: no user name, no query, no "
                         "characters that a host name does not have");
    if (place.encrypted || allow_http || is_loopback(&place))
        return true;
    return error_set(err, ERROR_INPUT,
                     "is http:// to another machine, which would show the API key on the way: "
                     "use https://, or set KLAVIYO_ALLOW_HTTP=1");
}
