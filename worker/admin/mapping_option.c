#include "worker/admin/mapping_option.h"

#include <stdlib.h>

#include "common/nearest.h"
#include "worker/admin/name.h"
#include "worker/cli/print.h"
#include "worker/klaviyo/attribute.h"

#define ATTRIBUTE "--attribute"
#define PROPERTY "--property"
#define PHONE "phone_number"

void mapping_options_print_help(void)
{
    size_t n = 0;

    print_text(
        "\nA FIELD is an attribute's name, with dots into nested ones (name.first); a name with a\n"
        "dot in it is written in double quotes, as in 'traits.\"e.mail\"' for a shell. @profile_id is\n"
        "the id of the profile.\n"
        "\nFields of Klaviyo that --attribute knows; numbers are sent to them as text:\n");
    for (size_t i = 0; attributes[i].name; i++)
        if (strcmp(attributes[i].name, PHONE) != 0) {
            print_text(n++ % 6 == 0 ? "\n  " : ", ");
            print_text(attributes[i].name);
        }
    print_text("\n  and, with --allow-phone-number, " PHONE "\n");
}

static bool unknown_attribute(struct context *context, const char *name, struct error *err)
{
    struct nearest nearest = NEAREST_INIT(name);

    if (strcmp(name, "email") == 0)
        return wrong_usage(context, err,
                           ATTRIBUTE " email: the address has an option of its own, --email-field");
    for (size_t i = 0; attributes[i].name; i++)
        nearest_offer(&nearest, attributes[i].name);
    for (size_t i = 0; attributes[i].name && !nearest.best; i++)
        if (strncmp(attributes[i].name, "location.", 9) == 0 &&
            strcmp(attributes[i].name + 9, name) == 0)
            nearest.best = attributes[i].name;
    if (nearest.best)
        return wrong_usage(context, err, "Klaviyo has no attribute %s: did you mean %s?", name,
                           nearest.best);
    return wrong_usage(
        context, err,
        "Klaviyo has no attribute %s: send it as a property of your own with " PROPERTY " %s=FIELD",
        name, name);
}

static bool check_attribute(struct context *context, const char *name, struct error *err)
{
    if (strcmp(name, PHONE) == 0) {
        if (arguments_flag(context->arguments, "--allow-phone-number"))
            return true;
        return wrong_usage(context, err,
                           ATTRIBUTE " " PHONE " needs --allow-phone-number: Klaviyo may send "
                                     "text messages to it, and merges profiles that share one");
    }
    return attribute_kind(name) != ATTRIBUTE_UNKNOWN || unknown_attribute(context, name, err);
}

/* Klaviyo reads its own fields from such properties: a phone number, a consent. */
static bool check_property(struct context *context, const char *name, struct error *err)
{
    if (name[0] == '$')
        return wrong_usage(context, err,
                           PROPERTY " %s: Klaviyo keeps names that begin with $ for itself: "
                                    "choose another name, or use " ATTRIBUTE,
                           name);
    return name_check(context, "property", name, err);
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
static bool add_field(struct context *context, struct mapping_options *mapping, const char *option,
                      struct error *err)
{
    char *text = mapping->texts[mapping->n];
    bool is_attribute = strcmp(option, ATTRIBUTE) == 0;
    char *equals = strchr(text, '=');

    if (!equals)
        return wrong_usage(context, err,
                           "%s %s: it must be NAME=FIELD, such as first_name=name.first", option,
                           text);
    *equals = '\0';
    struct field_path *path = &mapping->paths[mapping->n];
    if (!field_path_parse(context, option, equals + 1, path, err))
        return false;
    struct export_mapping field = { .target = is_attribute ? "attribute" : "property",
                                    .name = text,
                                    .path = { path->parts, path->n } };
    if (!(is_attribute ? check_attribute(context, text, err)
                       : check_property(context, text, err)) ||
        !check_twice(context, mapping, &field, err))
        return false;
    mapping->fields[mapping->n++] = field;
    return true;
}

static bool add_all(struct context *context, struct mapping_options *mapping, const char *option,
                    struct error *err)
{
    size_t at = 0;

    for (const char *value = arguments_next(context->arguments, option, &at); value;
         value = arguments_next(context->arguments, option, &at)) {
        mapping->texts[mapping->n] = strdup(value);
        if (!mapping->texts[mapping->n])
            return error_no_memory(err);
        if (!add_field(context, mapping, option, err))
            return false;
    }
    return true;
}

bool mapping_options_read(struct context *context, struct mapping_options *mapping,
                          struct error *err)
{
    struct mapping_options read = MAPPING_OPTIONS_INIT;

    read.fields = calloc(context->arguments->n_given + 1, sizeof *read.fields);
    read.texts = calloc(context->arguments->n_given + 1, sizeof *read.texts);
    read.paths = calloc(context->arguments->n_given + 1, sizeof *read.paths);
    bool ok = read.fields && read.texts && read.paths ? add_all(context, &read, ATTRIBUTE, err) &&
                                                            add_all(context, &read, PROPERTY, err)
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
    for (size_t i = 0; mapping->texts && mapping->paths && mapping->texts[i]; i++) {
        free(mapping->texts[i]);
        field_path_release(&mapping->paths[i]);
    }
    free(mapping->texts);
    free(mapping->paths);
    free(mapping->fields);
    *mapping = MAPPING_OPTIONS_INIT;
}
