#ifndef WORKER_HTTP_LISTENER_H
#define WORKER_HTTP_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * A socket that listens on "host:port": a name, an IPv4 address, an IPv6
 * address in brackets. [::] and * are every address of this machine, of both
 * families (of IPv4 where the machine has no other). Port 0 is any free one.
 */
enum { LISTENER_ADDRESS_BYTES = 64 };

struct listener {
    int fd; /* the caller closes it */
    uint16_t port;
    char address[LISTENER_ADDRESS_BYTES]; /* "127.0.0.1", as bound */
};

/*
 * ERROR_FATAL: where is not host:port, the name is unknown, or the port is in
 * use. *listener is written on success only.
 */
bool listener_open(struct listener *listener, const char *where, struct error *err) MUST_USE;

#endif
