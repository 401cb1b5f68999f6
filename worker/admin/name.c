#include "worker/admin/name.h"

#include <string.h>

#include "common/utf8.h"
#include "common/visible_text.h"
#include "worker/cli/key_word.h"

enum { NAME_MAX_CHARACTERS = 200 };

/* What klaviyo.is_printable() refuses, too; the text is UTF-8. */
static bool is_printable(const char *text, size_t n)
{
    uint32_t code;

    for (size_t at = 0; at < n; at += utf8_decode(text + at, n - at, NULL)) {
        (void)utf8_decode(text + at, n - at, &code);
        if (code_point_is_unsafe(code))
            return false;
    }
    return true;
}

bool name_check(struct context *context, const char *what, const char *name, struct error *err)
{
    size_t n = strlen(name);
    long characters = utf8_count(name, n);

    if (n == 0)
        return wrong_usage(context, err, "the name of the %s is empty", what);
    if (characters < 0)
        return wrong_usage(context, err, "the name of the %s is not UTF-8", what);
    if (characters > NAME_MAX_CHARACTERS)
        return wrong_usage(context, err, "the name of the %s is longer than %d characters", what,
                           NAME_MAX_CHARACTERS);
    if (!is_printable(name, n))
        return wrong_usage(context, err,
                           "the name of the %s holds control characters or marks that turn the "
                           "direction of text",
                           what);
    if (name[0] == ' ' || name[n - 1] == ' ')
        return wrong_usage(context, err, "the name of the %s begins or ends with a blank", what);
    if (key_word_in(name))
        return wrong_usage(context, err, "%s is no name of a %s: it looks like an API key", name,
                           what);
    return true;
}
