#ifndef WORKER_INGEST_TRACEPARENT_H
#define WORKER_INGEST_TRACEPARENT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/*
 * W3C Trace Context: VERSION-TRACE-PARENT-FLAGS, as 2, 32, 16 and 2 lower-case
 * hexadecimal digits. It comes from a publisher and goes into an HTTP header, so
 * that what is kept is these 55 ASCII characters or nothing.
 */
enum { TRACEPARENT_CHARACTERS = 55 };

/*
 * Exactly this length: the longer value of a later version is not kept. False: it
 * is not one, *out is untouched.
 */
bool traceparent_parse(const char *bytes, size_t n, char out[TRACEPARENT_CHARACTERS + 1]) MUST_USE;

#endif
