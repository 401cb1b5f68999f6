#ifndef WORKER_SERVICE_HTTP_LIBRARY_H
#define WORKER_SERVICE_HTTP_LIBRARY_H

/* "0.9.75", of libmicrohttpd in use. */
const char *http_library_version(void);

#endif
