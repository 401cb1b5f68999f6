#ifndef WORKER_INGEST_EXPORT_NAMES_H
#define WORKER_INGEST_EXPORT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"

/*
 * The names in the header x-klaviyo-worker-exports: separated by commas, each as
 * it is, or as a JSON string if it holds a comma, a quote, a backslash or an invisible
 * character, or has a blank at an end:
 *
 *     newsletter,"EU, UK"
 *
 * worker/store/events.c writes it. Letters of earlier versions have all names as
 * they are: a quote in the middle of a name is nothing but a quote.
 */
struct export_names {
    char **items;
    size_t n;
};

#define EXPORT_NAMES_INIT ((struct export_names){ .items = NULL })

/* ERROR_INPUT: empty names, or what is not UTF-8. *names is written when true. */
bool export_names_parse(struct bytes list, struct export_names *names, struct error *err) MUST_USE;
void export_names_release(struct export_names *names);

#endif
