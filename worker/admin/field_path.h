#ifndef WORKER_ADMIN_FIELD_PATH_H
#define WORKER_ADMIN_FIELD_PATH_H

#include "worker/cli/command.h"
#include "worker/store/exports.h"

/*
 * The path of a field as people write it (pure): names separated by dots, a
 * name with a dot or a quote in it in double quotes (`traits."e.mail"`, a quote
 * inside doubled), or @profile_id for the id of the profile. The parts of a
 * path lie in its text.
 */
enum {
    FIELD_PATH_MAX_BYTES = 1000, /* chosen: a path is typed by a person */
    FIELD_PATH_MAX_PARTS = 32,
};

#define FIELD_PATH_PROFILE_ID "@profile_id"

struct field_path {
    char *text;
    const char *parts[FIELD_PATH_MAX_PARTS];
    size_t n;
};

#define FIELD_PATH_INIT ((struct field_path){ .n = 0 })

/* Wrong usage: not a path; option: where it was given. */
bool field_path_parse(struct context *context, const char *option, const char *text,
                      struct field_path *path, struct error *err) MUST_USE;
void field_path_release(struct field_path *path);

#endif
