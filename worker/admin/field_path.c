#include "worker/admin/field_path.h"

#include <stdlib.h>
#include <string.h>

static bool not_a_path(struct context *context, const char *option, const char *text,
                       struct error *err)
{
    return wrong_usage(context, err,
                       "%s: \"%s\" is not the path of a field: names separated by dots, such as "
                       "name.first; a name with a dot in it must be in double quotes",
                       option, text);
}

/*
 * One name: copied from *at to *out, quotes taken off, and ended with a NUL. *at
 * is left behind it. False: it is empty, or its quotes are wrong.
 */
static bool parse_name(const char **at, char **out)
{
    const char *from = *at;
    char *to = *out;
    bool quoted = *from == '"';

    from += quoted;
    while (*from && (quoted || (*from != '.' && *from != '"'))) {
        if (quoted && *from == '"' && from[1] != '"')
            break;
        from += quoted && *from == '"';
        *to++ = *from++;
    }
    bool ended = quoted ? *from == '"' : *from != '"';
    bool empty = to == *out;
    *to++ = '\0';
    *at = from + (quoted && ended);
    *out = to;
    return ended && !empty;
}

/* False: not a path, or one of too many names. */
static bool parse_names(struct field_path *path, const char *at)
{
    char *out = path->text;

    while (path->n < FIELD_PATH_MAX_PARTS) {
        path->parts[path->n++] = out;
        if (!parse_name(&at, &out))
            return false;
        if (*at == '\0')
            return true;
        if (*at++ != '.')
            return false;
    }
    return false;
}

/* What begins with "@" is not a name, unless it is in quotes. */
static bool check_special(struct context *context, const char *option, const char *text,
                          const struct field_path *path, struct error *err)
{
    bool names_the_id = path->n == 1 && strcmp(path->parts[0], FIELD_PATH_PROFILE_ID) == 0;

    if (text[0] == '@' && !names_the_id)
        return wrong_usage(context, err,
                           "%s: %s: only " FIELD_PATH_PROFILE_ID
                           " is special; the name of an attribute "
                           "that begins with \"@\" must be in double quotes",
                           option, text);
    if (text[0] == '"' && names_the_id)
        return wrong_usage(context, err,
                           "%s: an attribute of the name " FIELD_PATH_PROFILE_ID
                           " cannot be sent: it stands for the id of the profile",
                           option);
    return true;
}

bool field_path_parse(struct context *context, const char *option, const char *text,
                      struct field_path *path, struct error *err)
{
    struct field_path parsed = FIELD_PATH_INIT;

    if (strlen(text) > FIELD_PATH_MAX_BYTES)
        return wrong_usage(context, err, "%s: the path of a field is longer than %d bytes", option,
                           FIELD_PATH_MAX_BYTES);
    parsed.text = malloc(strlen(text) + 2); /* each dot makes room for a NUL, the last needs one */
    if (!parsed.text)
        return error_no_memory(err);
    bool ok = parse_names(&parsed, text) ? check_special(context, option, text, &parsed, err)
                                         : not_a_path(context, option, text, err);
    if (!ok) {
        field_path_release(&parsed);
        return false;
    }
    *path = parsed;
    return true;
}

void field_path_release(struct field_path *path)
{
    free(path->text);
    *path = FIELD_PATH_INIT;
}
