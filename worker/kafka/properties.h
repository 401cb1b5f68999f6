#ifndef WORKER_KAFKA_PROPERTIES_H
#define WORKER_KAFKA_PROPERTIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The file that KAFKA_CONFIG_FILE names: property=value lines, handed to
 * librdkafka as they are (kcat's -F format). Empty lines and lines that begin
 * with # are left out; blanks around name and value do not count.
 *
 * Values may be secrets: no error text ever holds one. Errors name file and
 * line. What the worker depends on cannot be set otherwise here, and is left out
 * where it is set as it is; see properties.c.
 */
struct property {
    const char *name;
    const char *value;
    unsigned line;
};

struct properties {
    struct property *items;
    size_t n;
    char *text; /* what the items point into */
};

#define PROPERTIES_INIT ((struct properties){ .n = 0 })

/* path empty: no properties. */
bool properties_load(struct properties *properties, const char *path, struct error *err) MUST_USE;

/* A number that changes with the properties; it reveals none of their values. */
uint64_t properties_digest(const struct properties *properties);

/* For tests. NULL if it is not set; the last one counts. */
const char *properties_find(const struct properties *properties, const char *name);

/* Wipes. */
void properties_release(struct properties *properties);

#endif
