#ifndef WORKER_HTTP_OWN_HOSTS_H
#define WORKER_HTTP_OWN_HOSTS_H

#include <stdbool.h>

/*
 * Under which names the page and the API answer. A foreign web page can make a browser
 * inside of the network send requests here under a name of its own site (DNS
 * rebinding), and read the answers; it cannot make the browser use a name that is not
 * that site's. So these are accepted: an address,
 * a name without a dot, localhost, this machine's own name, the host of
 * HTTP_LISTEN, and the names in HTTP_HOSTS; ".example.com" there stands for
 * all names that end so.
 */
struct own_hosts {
    const char *listen;  /* HTTP_LISTEN: host:port */
    const char *more;    /* HTTP_HOSTS: names, separated by commas */
    const char *machine; /* as gethostname() says */
};

/* host: the header, which may have a port; NULL: there was none, so no browser asks. */
bool own_hosts_have(const struct own_hosts *own, const char *host);

#endif
