#include "worker/http/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/parse.h"

enum { HOST_MAX_BYTES = 256, BACKLOG = 1024 };

struct place {
    char host[HOST_MAX_BYTES]; /* empty: every address */
    char port[8];
};

/* "[::1]:80" is ::1 and 80; "[::]:80" and "*:80" are every address of both families. */
static bool split(const char *where, struct place *place)
{
    const char *colon = strrchr(where, ':');
    size_t n = colon ? (size_t)(colon - where) : 0;
    int64_t port;

    if (n == 0 || n >= sizeof place->host || !parse_int64(colon + 1, 0, UINT16_MAX, &port))
        return false;
    if (where[0] == '[' && where[n - 1] == ']') {
        where++;
        n -= 2;
    }
    if ((n == 1 && where[0] == '*') || (n == 2 && strncmp(where, "::", 2) == 0))
        n = 0;
    (void)snprintf(place->host, sizeof place->host, "%.*s", (int)n, where);
    (void)snprintf(place->port, sizeof place->port, "%u", (unsigned)port);
    return true;
}

static bool host_has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

/* Every address is one IPv6 socket that takes IPv4 too; IPv4 alone where the host has no IPv6. */
static bool resolve(const struct place *place, struct addrinfo **found, struct error *err)
{
    const int every = host_has_ipv6() ? AF_INET6 : AF_INET;
    const struct addrinfo hints = { .ai_family = *place->host ? AF_UNSPEC : every,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    int failed = getaddrinfo(*place->host ? place->host : NULL, place->port, &hints, found);

    if (!failed)
        return true;
    return error_set(err, ERROR_FATAL, "no such address: %s", gai_strerror(failed));
}

static bool bind_to(const struct addrinfo *address, int *out, struct error *err)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1, off = 0;

    if (fd < 0)
        return error_errno(err, ERROR_FATAL, "no socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6) /* whatever net.ipv6.bindv6only says */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return true;
    }
    (void)error_errno(err, ERROR_FATAL, "cannot listen");
    (void)close(fd);
    return false;
}

/* The first of the addresses that can be bound; err is the last one's. */
static bool bind_first(const struct addrinfo *found, int *fd, struct error *err)
{
    for (const struct addrinfo *at = found; at; at = at->ai_next)
        if (bind_to(at, fd, err))
            return true;
    return false;
}

static void name_bound(struct listener *listener)
{
    struct sockaddr_storage bound = { 0 };
    socklen_t n = sizeof bound;
    char port[8];
    int64_t number = 0;

    (void)getsockname(listener->fd, (struct sockaddr *)&bound, &n);
    if (getnameinfo((struct sockaddr *)&bound, n, listener->address, sizeof listener->address, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        (void)!parse_int64(port, 0, UINT16_MAX, &number);
    listener->port = (uint16_t)number;
}

static bool open_place(struct listener *listener, const struct place *place, struct error *err)
{
    struct addrinfo *found = NULL;

    if (!resolve(place, &found, err))
        return false;
    bool ok = bind_first(found, &listener->fd, err);
    freeaddrinfo(found);
    if (ok)
        name_bound(listener);
    return ok;
}

bool listener_open(struct listener *listener, const char *where, struct error *err)
{
    struct listener opened = { .fd = -1 };
    struct error why = ERROR_INIT;
    struct place place;

    if (!split(where, &place))
        return error_set(err, ERROR_FATAL, "HTTP_LISTEN %s is not host:port", where);
    if (!open_place(&opened, &place, &why))
        return error_set(err, why.kind,
                         "HTTP_LISTEN %s: %s: set it to a free address of this machine, or to "
                         "nothing to turn health and metrics off",
                         where, why.text);
    *listener = opened;
    return true;
}
