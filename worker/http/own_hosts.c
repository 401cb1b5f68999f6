#include "worker/http/own_hosts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { HOST_BYTES = 256 };

/* Without port, brackets and a dot at its end; false: it is not a host. */
static bool name_of(const char *host, char name[HOST_BYTES])
{
    size_t begin = *host == '[';
    size_t n = strcspn(host + begin, begin ? "]" : ":");

    if (!begin && n > 0 && host[n - 1] == '.')
        n--;
    if (n == 0 || n >= HOST_BYTES)
        return false;
    (void)snprintf(name, HOST_BYTES, "%.*s", (int)n, host + begin);
    return true;
}

static bool is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* item has n bytes: "name", or ".ending". */
static bool matches(const char *name, const char *item, size_t n)
{
    size_t length = strlen(name);

    if (n > 1 && item[0] == '.')
        return length > n && strncasecmp(name + length - n, item, n) == 0;
    return length == n && strncasecmp(name, item, n) == 0;
}

static bool is_listed(const char *name, const char *list)
{
    while (*list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");
        if (n > 0 && matches(name, list, n))
            return true;
        list += n;
    }
    return false;
}

static bool is_listened_on(const char *name, const char *listen)
{
    char host[HOST_BYTES];

    return name_of(listen, host) && strcasecmp(name, host) == 0;
}

bool own_hosts_have(const struct own_hosts *own, const char *host)
{
    char name[HOST_BYTES];

    if (!host)
        return true;
    if (!name_of(host, name))
        return false;
    return is_address(name) || !strchr(name, '.') || matches(name, ".localhost", 10) ||
           strcasecmp(name, own->machine) == 0 || is_listened_on(name, own->listen) ||
           is_listed(name, own->more);
}
