#ifndef WORKER_CLI_LISTING_H
#define WORKER_CLI_LISTING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/cli/arguments.h"
#include "worker/cli/table.h"

/*
 * How a listing is printed: whole in a pipe; on a terminal fitted to its width, in
 * colour and with times as people say them. A command with a listing has OPTIONS_OF_LISTING
 * among its options.
 */
#define OPTIONS_OF_LISTING                                                                       \
    OPTION_JSON,                                                                                 \
        { "--csv", OPTION_FLAG, false, NULL, "print CSV (RFC 4180) instead, with all columns" }, \
        { "--utc", OPTION_FLAG, false, NULL, "times as RFC 3339 in UTC, on a terminal too" },    \
    {                                                                                            \
        "--color", OPTION_VALUE, false, "auto|always|never",                                     \
            "colours; auto: on a terminal, unless NO_COLOR is set"                               \
    }

/* False: wrong usage. */
bool listing_style_of(struct context *context, struct table_style *style, struct error *err)
    MUST_USE;

/*
 * An array of objects, as the command's options ask for it; nothing: what to say where
 * there is none. False: wrong usage, or it could not be written.
 */
bool listing_print(struct context *context, const struct column *columns, const char *json,
                   const char *nothing, struct error *err) MUST_USE;

#endif
