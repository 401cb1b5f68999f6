#include "worker/klaviyo/attribute.h"

#include <string.h>

const struct attribute attributes[] = {
    { "first_name", ATTRIBUTE_TEXT },
    { "last_name", ATTRIBUTE_TEXT },
    { "organization", ATTRIBUTE_TEXT },
    { "title", ATTRIBUTE_TEXT },
    { "image", ATTRIBUTE_TEXT },
    { "locale", ATTRIBUTE_TEXT },
    { "external_id", ATTRIBUTE_TEXT },
    { "location.address1", ATTRIBUTE_TEXT },
    { "location.address2", ATTRIBUTE_TEXT },
    { "location.city", ATTRIBUTE_TEXT },
    { "location.country", ATTRIBUTE_TEXT },
    { "location.region", ATTRIBUTE_TEXT },
    { "location.zip", ATTRIBUTE_TEXT },
    { "location.timezone", ATTRIBUTE_TEXT },
    { "location.ip", ATTRIBUTE_TEXT },
    { "location.latitude", ATTRIBUTE_NUMBER },
    { "location.longitude", ATTRIBUTE_NUMBER },
    { "phone_number", ATTRIBUTE_TEXT },
    { NULL, ATTRIBUTE_UNKNOWN },
};

enum attribute_kind attribute_kind(const char *name)
{
    const struct attribute *attribute = attributes;

    while (attribute->name && strcmp(attribute->name, name) != 0)
        attribute++;
    return attribute->kind;
}
