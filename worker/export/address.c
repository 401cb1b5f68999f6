#include "worker/export/address.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "common/ascii.h"

enum { LABEL_MAX = 63 };

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] > 0x7f)
            return false;
    return true;
}

/* Lower-case letters only are asked about: the address is in lower case. */
static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_letter_or_digit(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

static bool is_atom_text(char c)
{
    return c && (is_letter_or_digit(c) || strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool local_is_fine(const char *local, size_t len)
{
    if (len == 0 || local[0] == '.' || local[len - 1] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_atom_text(local[i]) && (local[i] != '.' || local[i - 1] == '.'))
            return false;
    return true;
}

static bool label_is_fine(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_letter_or_digit(label[i]) && label[i] != '-')
            return false;
    return true;
}

static bool last_label_is_fine(const char *label, size_t len)
{
    if (len > 4 && memcmp(label, "xn--", 4) == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        if (!is_letter(label[i]))
            return false;
    return len >= 2;
}

static bool domain_is_fine(const char *domain, size_t len)
{
    const char *end = domain + len;
    size_t labels = 0;

    for (const char *label = domain;; labels++) {
        const char *dot = memchr(label, '.', (size_t)(end - label));
        size_t n = (size_t)((dot ? dot : end) - label);

        if (!label_is_fine(label, n))
            return false;
        if (!dot)
            return labels >= 1 && last_label_is_fine(label, n);
        label = dot + 1;
    }
}

enum address_fault address_check(const char *address, size_t len)
{
    if (len == 0)
        return ADDRESS_MISSING;
    if (!is_ascii(address, len))
        return ADDRESS_NOT_ASCII;

    const char *at = memchr(address, '@', len);
    if (len > ADDRESS_MAX || (at && at - address > ADDRESS_LOCAL_MAX))
        return ADDRESS_TOO_LONG;
    if (!at)
        return ADDRESS_MALFORMED;

    size_t local = (size_t)(at - address);
    if (!local_is_fine(address, local) || !domain_is_fine(at + 1, len - local - 1))
        return ADDRESS_MALFORMED;
    return ADDRESS_FINE;
}

static size_t trim(const char **text)
{
    while (isspace((unsigned char)**text))
        (*text)++;
    size_t n = strlen(*text);
    while (n > 0 && isspace((unsigned char)(*text)[n - 1]))
        n--;
    return n;
}

bool address_normalise(const char *written, char *out, size_t *len)
{
    *len = trim(&written);
    if (*len > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < *len; i++)
        out[i] = ascii_lower(written[i]);
    return true;
}

bool address_is_fine_as_written(const char *written, size_t len)
{
    char form[ADDRESS_MAX] = "";

    if (!written || len > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        form[i] = ascii_lower(written[i]);
    return address_check(form, len) == ADDRESS_FINE;
}

bool address_is_same(const char *written, const char *normal)
{
    char form[ADDRESS_MAX];
    size_t len;

    return address_normalise(written, form, &len) && strlen(normal) == len &&
           memcmp(form, normal, len) == 0;
}
