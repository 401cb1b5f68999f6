#ifndef WORKER_ADMIN_MAPPING_OPTION_H
#define WORKER_ADMIN_MAPPING_OPTION_H

#include "worker/admin/field_path.h"
#include "worker/cli/arguments.h"
#include "worker/store/exports.h"

/*
 * What is sent in addition to the address: the options --attribute
 * KLAVIYO_FIELD=FIELD and --property NAME=FIELD.
 */
struct mapping_options {
    struct export_mapping *fields; /* names lie in texts, their paths' parts in paths */
    size_t n;
    char **texts;
    struct field_path *paths;
};

#define MAPPING_OPTIONS_INIT ((struct mapping_options){ .n = 0 })

/* Wrong usage: an attribute that Klaviyo does not have, a name given twice, … */
bool mapping_options_read(struct context *context, struct mapping_options *mapping,
                          struct error *err) MUST_USE;

/* Frees what read made. Accepts MAPPING_OPTIONS_INIT. */
void mapping_options_release(struct mapping_options *mapping);

/* The attributes that are known, for --help. */
void mapping_options_print_help(void);

#endif
