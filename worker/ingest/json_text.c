#include "worker/ingest/json_text.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "common/utf8.h"

/* A reader that moves forward; the brackets that are open, one bit each: set for an object. */
struct scan {
    const char *at, *end;
    size_t depth;
    unsigned char is_object[JSON_TEXT_MAX_BYTES / CHAR_BIT];
};

static void scan_init(struct scan *scan, struct bytes text)
{
    scan->at = text.at;
    scan->end = text.at + text.n;
    scan->depth = 0;
}

static bool is_at(const struct scan *scan, char c)
{
    return scan->at < scan->end && *scan->at == c;
}

static bool skip(struct scan *scan, char c)
{
    bool there = is_at(scan, c);

    scan->at += there;
    return there;
}

static bool is_one_of(const struct scan *scan, const char *characters)
{
    return scan->at < scan->end && *scan->at && strchr(characters, *scan->at);
}

static void skip_blanks(struct scan *scan)
{
    while (is_one_of(scan, " \t\n\r"))
        scan->at++;
}

/* ---- values without others in them ---- */

static bool scan_digits(struct scan *scan)
{
    const char *first = scan->at;

    while (is_one_of(scan, "0123456789"))
        scan->at++;
    return scan->at > first;
}

static bool scan_number(struct scan *scan)
{
    (void)skip(scan, '-');
    if (!skip(scan, '0') && !scan_digits(scan))
        return false;
    if (skip(scan, '.') && !scan_digits(scan))
        return false;
    if (!is_one_of(scan, "eE"))
        return true;
    scan->at++;
    if (is_one_of(scan, "+-"))
        scan->at++;
    return scan_digits(scan);
}

static bool scan_word(struct scan *scan, const char *word)
{
    while (*word)
        if (!skip(scan, *word++))
            return false;
    return true;
}

/* Behind the backslash. */
static bool scan_escape(struct scan *scan)
{
    if (is_one_of(scan, "\"\\/bfnrt")) {
        scan->at++;
        return true;
    }
    if (!skip(scan, 'u'))
        return false;
    for (int i = 0; i < 4; i++) {
        if (!is_one_of(scan, "0123456789abcdefABCDEF"))
            return false;
        scan->at++;
    }
    return true;
}

static bool scan_character(struct scan *scan)
{
    size_t left = (size_t)(scan->end - scan->at);

    if (left == 0 || (unsigned char)*scan->at < 0x20)
        return false;
    size_t length = utf8_decode(scan->at, left, NULL);
    scan->at += length;
    return length > 0;
}

static bool scan_string(struct scan *scan)
{
    if (!skip(scan, '"'))
        return false;
    while (!skip(scan, '"'))
        if (!(skip(scan, '\\') ? scan_escape(scan) : scan_character(scan)))
            return false;
    return true;
}

static bool scan_scalar(struct scan *scan)
{
    if (is_at(scan, '"'))
        return scan_string(scan);
    if (is_at(scan, 't'))
        return scan_word(scan, "true");
    if (is_at(scan, 'f'))
        return scan_word(scan, "false");
    if (is_at(scan, 'n'))
        return scan_word(scan, "null");
    return scan_number(scan);
}

/* ---- values with others in them, without recursion ---- */

static bool in_object(const struct scan *scan)
{
    size_t top = scan->depth - 1;

    return (unsigned)scan->is_object[top / CHAR_BIT] >> (top % CHAR_BIT) & 1U;
}

static void push(struct scan *scan, bool is_object)
{
    unsigned char *byte = &scan->is_object[scan->depth / CHAR_BIT];
    unsigned bit = 1U << (scan->depth % CHAR_BIT);

    assert(scan->depth < JSON_TEXT_MAX_BYTES); /* each level is a byte of the text */
    *byte = (unsigned char)(is_object ? *byte | bit : *byte & ~bit);
    scan->depth++;
}

/* "name": */
static bool scan_name(struct scan *scan)
{
    skip_blanks(scan);
    if (!scan_string(scan))
        return false;
    skip_blanks(scan);
    if (!skip(scan, ':'))
        return false;
    skip_blanks(scan);
    return true;
}

/* From the beginning of a value to the end of the first scalar or empty bracket in it. */
static bool descend(struct scan *scan)
{
    for (;;) {
        bool opens_object = is_at(scan, '{');

        if (!opens_object && !is_at(scan, '['))
            return scan_scalar(scan);
        scan->at++;
        skip_blanks(scan);
        if (skip(scan, opens_object ? '}' : ']'))
            return true;
        push(scan, opens_object);
        if (opens_object && !scan_name(scan))
            return false;
    }
}

/* Behind a value: closes what ends here. *more: another value begins. */
static bool ascend(struct scan *scan, bool *more)
{
    for (*more = false; scan->depth > 0; scan->depth--) {
        skip_blanks(scan);
        if (skip(scan, ',')) {
            *more = true;
            if (in_object(scan))
                return scan_name(scan);
            skip_blanks(scan);
            return true;
        }
        if (!skip(scan, in_object(scan) ? '}' : ']'))
            return false;
    }
    return true;
}

static bool scan_value(struct scan *scan)
{
    bool more = true;

    scan->depth = 0;
    while (more)
        if (!descend(scan) || !ascend(scan, &more))
            return false;
    return true;
}

bool json_text_check(struct bytes text, size_t *where)
{
    struct scan scan;
    bool ok = text.n <= JSON_TEXT_MAX_BYTES;

    scan_init(&scan, text);
    if (ok) {
        skip_blanks(&scan);
        ok = scan_value(&scan);
        skip_blanks(&scan);
    }
    if (ok && scan.at == scan.end)
        return true;
    *where = (size_t)(scan.at - text.at);
    return false;
}

struct bytes json_text_trim(struct bytes text)
{
    struct scan scan;

    scan_init(&scan, text);
    skip_blanks(&scan);
    const char *first = scan.at;
    bool ok = scan_value(&scan);
    assert(ok);
    return (struct bytes){ first, (size_t)(scan.at - first) };
}

/* ---- strings ---- */

enum { NOT_A_CHARACTER = 0x110000 };

/* The value of the four digits of \uXXXX. */
static uint32_t hex4(const char *digits)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        value = value * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static bool is_high_half(uint32_t code)
{
    return code >= 0xd800 && code <= 0xdbff;
}

static bool is_low_half(uint32_t code)
{
    return code >= 0xdc00 && code <= 0xdfff;
}

/* Behind \u; *at moves behind what makes one character. */
static uint32_t read_hex(const char **at)
{
    uint32_t code = hex4(*at);

    *at += 4;
    if (is_low_half(code))
        return NOT_A_CHARACTER;
    if (!is_high_half(code))
        return code;
    if ((*at)[0] != '\\' || (*at)[1] != 'u' || !is_low_half(hex4(*at + 2)))
        return NOT_A_CHARACTER;
    uint32_t low = hex4(*at + 2);
    *at += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* The character that an escape stands for; *at is behind its backslash and moves on. */
static uint32_t read_escape(const char **at)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    char c = *(*at)++;

    if (c == 'u')
        return read_hex(at);
    const char *letter = strchr(letters, c);
    return (unsigned char)(letter ? meant[letter - letters] : c);
}

enum json_text_string json_text_string(struct bytes value, struct json_text_characters *characters)
{
    if (value.n == 0 || value.at[0] != '"')
        return JSON_TEXT_NO_STRING;

    char *out = malloc(value.n); /* no escape is shorter than what it stands for */
    size_t n = 0;
    if (!out)
        return JSON_TEXT_NO_MEMORY;
    for (const char *at = value.at + 1; at < value.at + value.n - 1;) {
        uint32_t code = 0;
        if (*at != '\\') {
            out[n++] = *at++;
            continue;
        }
        at++;
        if ((code = read_escape(&at)) == NOT_A_CHARACTER) {
            free(out);
            return JSON_TEXT_NO_STRING;
        }
        n += utf8_encode(code, out + n);
    }
    out[n] = '\0';
    *characters = (struct json_text_characters){ out, n };
    return JSON_TEXT_STRING;
}

/* ---- members ---- */

/* raw: a string with its quotes. */
static bool name_is(struct bytes raw, const char *name)
{
    const char *end = raw.at + raw.n - 1;

    for (const char *at = raw.at + 1; at < end;) {
        uint32_t c = (unsigned char)*at++;
        if (c == '\\')
            c = read_escape(&at);
        if (*name == '\0' || c != (unsigned char)*name++)
            return false;
    }
    return *name == '\0';
}

/* The next value of a bracket, and its name in an object; false: there is no more. */
static bool next(struct scan *scan, bool with_name, struct bytes *name, struct bytes *value)
{
    const char *first;

    if (!skip(scan, ','))
        scan->at++; /* the bracket itself: this is the first */
    skip_blanks(scan);
    if (is_one_of(scan, "}]"))
        return false;
    if (with_name) {
        first = scan->at;
        bool ok = scan_string(scan);
        *name = (struct bytes){ first, (size_t)(scan->at - first) };
        skip_blanks(scan);
        ok = ok && skip(scan, ':');
        skip_blanks(scan);
        assert(ok);
    }
    first = scan->at;
    bool ok = scan_value(scan);
    assert(ok);
    *value = (struct bytes){ first, (size_t)(scan->at - first) };
    skip_blanks(scan);
    return true;
}

static bool is_object(struct bytes value)
{
    return value.n > 0 && value.at[0] == '{';
}

struct bytes json_text_member(struct bytes object, const char *name)
{
    struct bytes found = BYTES_NONE, this_name, value;
    struct scan scan;

    if (!is_object(object))
        return found;
    scan_init(&scan, object);
    while (!is_at(&scan, '}') && next(&scan, true, &this_name, &value))
        if (name_is(this_name, name))
            found = value;
    return found;
}

bool json_text_each(struct bytes array, json_text_take *take, void *opaque)
{
    struct bytes value;
    struct scan scan;

    if (array.n == 0 || array.at[0] != '[')
        return false;
    scan_init(&scan, array);
    while (!is_at(&scan, ']') && next(&scan, false, NULL, &value))
        if (!take(opaque, value))
            return false;
    return true;
}

/* ---- setting one ---- */

/* Appends n bytes. */
static void put(char *out, size_t *n_out, const char *bytes, size_t n)
{
    memcpy(out + *n_out, bytes, n);
    *n_out += n;
}

static void put_text(char *out, size_t *n_out, const char *text)
{
    put(out, n_out, text, strlen(text));
}

/* An object that has members: a comma precedes a new one. */
static bool has_members(struct bytes object)
{
    struct scan scan;

    scan_init(&scan, object);
    scan.at++;
    skip_blanks(&scan);
    return !is_at(&scan, '}');
}

char *json_text_set_member(struct bytes text, struct bytes object, const char *name,
                           struct bytes value, size_t *n)
{
    char *out = malloc(text.n + strlen(name) + value.n + sizeof ",\"\":");
    struct bytes old = json_text_member(object, name);
    const char *from = old.at ? old.at : object.at + object.n - 1; /* its closing bracket */
    size_t put_n = 0;

    assert(is_object(object));
    if (!out)
        return NULL;
    put(out, &put_n, text.at, (size_t)(from - text.at));
    if (!old.at) {
        put_text(out, &put_n, has_members(object) ? ",\"" : "\"");
        put_text(out, &put_n, name);
        put_text(out, &put_n, "\":");
    }
    put(out, &put_n, value.at, value.n);
    from += old.n;
    put(out, &put_n, from, (size_t)(text.at + text.n - from));
    *n = put_n;
    return out;
}
