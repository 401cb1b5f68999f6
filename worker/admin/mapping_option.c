#include "worker/admin/mapping_option.h"

#include <stdlib.h>

#include "worker/admin/name.h"
#include "worker/cli/nearest.h"

#define ATTRIBUTE "--attribute"
#define PROPERTY "--property"
#define PHONE "phone_number"

/* Of a profile in an import, OpenAPI revision 2026-07-15; e-mail has its own option. */
static const char *const attributes[] = { "first_name",
                                          "last_name",
                                          "organization",
                                          "title",
                                          "image",
                                          "locale",
                                          "external_id",
                                          "location.address1",
                                          "location.address2",
                                          "location.city",
                                          "location.country",
                                          "location.region",
                                          "location.zip",
                                          "location.timezone",
                                          "location.ip",
                                          "location.latitude",
                                          "location.longitude" };
enum { N_ATTRIBUTES = sizeof attributes / sizeof attributes[0] };

void mapping_options_print_help(FILE *out)
{
    (void)fputs("\nFields of Klaviyo that --attribute knows:\n", out);
    for (size_t i = 0; i < N_ATTRIBUTES; i++)
        (void)fprintf(out, "%s%s", i % 6 == 0 ? "\n  " : ", ", attributes[i]);
    (void)fputs("\n  and, with --allow-phone-number, " PHONE "\n", out);
}

static bool unknown_attribute(struct context *context, const char *name, struct error *err)
{
    struct nearest nearest = NEAREST_INIT(name);

    if (strcmp(name, "email") == 0)
        return wrong_usage(context, err,
                           ATTRIBUTE " email: the address has an option of its own, --email-field");
    for (size_t i = 0; i < N_ATTRIBUTES; i++)
        nearest_offer(&nearest, attributes[i]);
    for (size_t i = 0; i < N_ATTRIBUTES && !nearest.best; i++)
        if (strncmp(attributes[i], "location.", 9) == 0 && strcmp(attributes[i] + 9, name) == 0)
            nearest.best = attributes[i];
    if (nearest.best)
        return wrong_usage(context, err, "Klaviyo has no attribute %s: did you mean %s?", name,
                           nearest.best);
    return wrong_usage(
        context, err,
        "Klaviyo has no attribute %s: send it as a property of your own with " PROPERTY " %s=FIELD",
        name, name);
}

static bool check_attribute(struct context *context, const struct arguments *arguments,
                            const char *name, struct error *err)
{
    if (strcmp(name, PHONE) == 0) {
        if (arguments_flag(arguments, "--allow-phone-number"))
            return true;
        return wrong_usage(context, err,
                           ATTRIBUTE " " PHONE " needs --allow-phone-number: Klaviyo may send "
                                     "text messages to it, and merges profiles that share one");
    }
    for (size_t i = 0; i < N_ATTRIBUTES; i++)
        if (strcmp(attributes[i], name) == 0)
            return true;
    return unknown_attribute(context, name, err);
}

static bool check_twice(struct context *context, const struct mapping_options *mapping,
                        const struct export_mapping *field, struct error *err)
{
    for (size_t i = 0; i < mapping->n; i++)
        if (strcmp(mapping->fields[i].target, field->target) == 0 &&
            strcmp(mapping->fields[i].name, field->name) == 0)
            return wrong_usage(context, err, "--%s %s is given twice", field->target, field->name);
    return true;
}

/* "first_name=name.first" cut in two; text lives on in the mapping. */
static bool add_field(struct context *context, const struct arguments *arguments,
                      struct mapping_options *mapping, const char *option, struct error *err)
{
    char *text = mapping->texts[mapping->n];
    bool is_attribute = strcmp(option, ATTRIBUTE) == 0;
    char *equals = strchr(text, '=');

    if (!equals)
        return wrong_usage(context, err,
                           "%s %s: it must be NAME=FIELD, such as first_name=name.first", option,
                           text);
    *equals = '\0';
    struct export_mapping field = { .target = is_attribute ? "attribute" : "property",
                                    .name = text,
                                    .path = equals + 1 };
    if (!field_path_check(context, option, field.path, err) ||
        !(is_attribute ? check_attribute(context, arguments, text, err)
                       : name_check(context, "property", text, err)) ||
        !check_twice(context, mapping, &field, err))
        return false;
    mapping->fields[mapping->n++] = field;
    return true;
}

static bool add_all(struct context *context, const struct arguments *arguments,
                    struct mapping_options *mapping, const char *option, struct error *err)
{
    size_t at = 0;

    for (const char *value = arguments_next(arguments, option, &at); value;
         value = arguments_next(arguments, option, &at)) {
        mapping->texts[mapping->n] = strdup(value);
        if (!mapping->texts[mapping->n])
            return error_no_memory(err);
        if (!add_field(context, arguments, mapping, option, err))
            return false;
    }
    return true;
}

bool mapping_options_read(struct context *context, const struct arguments *arguments,
                          struct mapping_options *mapping, struct error *err)
{
    struct mapping_options read = MAPPING_OPTIONS_INIT;

    read.fields = calloc(arguments->n_given + 1, sizeof *read.fields);
    read.texts = calloc(arguments->n_given + 1, sizeof *read.texts);
    bool ok = read.fields && read.texts ? add_all(context, arguments, &read, ATTRIBUTE, err) &&
                                              add_all(context, arguments, &read, PROPERTY, err)
                                        : error_no_memory(err);
    if (!ok) {
        mapping_options_release(&read);
        return false;
    }
    *mapping = read;
    return true;
}

void mapping_options_release(struct mapping_options *mapping)
{
    for (size_t i = 0; mapping->texts && mapping->texts[i]; i++)
        free(mapping->texts[i]);
    free(mapping->texts);
    free(mapping->fields);
    *mapping = MAPPING_OPTIONS_INIT;
}
