#include "tests/simulator/scan.h"

#include <stdint.h>
#include <string.h>

/* Bytes that need no second look inside a string: printable ASCII but quote and backslash. */
#define PLAIN_32 0xffffffffU
static const uint32_t plain_bytes[8] = {
    0,                      /* control characters */
    PLAIN_32 & ~(1U << 2),  /* 0x22 is the quote */
    PLAIN_32 & ~(1U << 28), /* 0x5c is the backslash */
    PLAIN_32,
    0,
    0,
    0,
    0 /* above 0x7f: UTF-8 sequences */
};

static inline bool is_plain(unsigned char c)
{
    return (plain_bytes[c >> 5] >> (c & 31)) & 1;
}

static bool fail(struct scan *scan, const char *why)
{
    if (!scan->wrong)
        scan->wrong = why;
    return false;
}

void scan_init(struct scan *scan, const char *text, size_t n)
{
    *scan = (struct scan){ .start = text, .at = text, .end = text + n };
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

/* The next byte after white space; NUL at the end. */
static char next_byte(struct scan *scan)
{
    skip_space(scan);
    if (scan->at == scan->end)
        return '\0';
    return *scan->at;
}

enum scan_kind scan_peek(struct scan *scan)
{
    if (scan->wrong)
        return SCAN_WRONG;

    char c = next_byte(scan);
    switch (c) {
    case '{':
        return SCAN_OBJECT;
    case '[':
        return SCAN_ARRAY;
    case '"':
        return SCAN_STRING;
    case 't':
    case 'f':
        return SCAN_BOOL;
    case 'n':
        return SCAN_NULL;
    default:
        return c == '-' || (c >= '0' && c <= '9') ? SCAN_NUMBER : SCAN_WRONG;
    }
}

bool scan_open(struct scan *scan, enum scan_kind kind)
{
    if (scan_peek(scan) != kind)
        return fail(scan, kind == SCAN_OBJECT ? "expected an object" : "expected an array");
    if (scan->depth == SCAN_DEPTH_MAX)
        return fail(scan, "nested too deeply");

    scan->at++;
    scan->depth++;
    scan->fresh = true;
    return true;
}

static bool close_container(struct scan *scan)
{
    scan->at++;
    scan->depth--;
    scan->fresh = false;
    return false;
}

/* Stands on the next member or element, or has left the container and returns false. */
static bool next_item(struct scan *scan, char closing)
{
    if (scan->wrong)
        return false;

    char c = next_byte(scan);
    if (c == closing)
        return close_container(scan);
    if (scan->fresh) {
        scan->fresh = false;
        return true;
    }
    if (c != ',')
        return fail(scan, "expected a comma or the end of a container");
    scan->at++;
    if (next_byte(scan) == closing)
        return fail(scan, "a comma before the end of a container");
    return true;
}

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10;
    return 16;
}

/* Four hex digits at `at`, or UINT32_MAX. */
static uint32_t hex_four(const char *at, const char *end)
{
    uint32_t value = 0;

    if (end - at < 4)
        return UINT32_MAX;
    for (int i = 0; i < 4; i++) {
        unsigned digit = hex_digit(at[i]);

        if (digit > 15)
            return UINT32_MAX;
        value = value << 4 | digit;
    }
    return value;
}

/*
 * The code point of a \u escape whose digits begin at *at; *at moves behind
 * it, over both halves of a surrogate pair. UINT32_MAX if there is none.
 */
static uint32_t unicode_escape(const char **at, const char *end)
{
    uint32_t high = hex_four(*at, end);

    if (high == UINT32_MAX)
        return UINT32_MAX;
    *at += 4;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return UINT32_MAX;

    uint32_t low = hex_four(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return UINT32_MAX;
    *at += 6;
    return 0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00));
}

/* Stands behind the backslash. */
static bool escape(struct scan *scan)
{
    if (scan->at == scan->end)
        return fail(scan, "a string that does not end");

    char c = *scan->at++;
    if (c == 'u')
        return unicode_escape(&scan->at, scan->end) != UINT32_MAX ||
               fail(scan, "a bad unicode escape");
    return (c && strchr("\"\\/bfnrt", c)) || fail(scan, "an unknown escape");
}

/* How many bytes the UTF-8 sequence at s has if it is well formed (RFC 3629), else 0. */
static size_t utf8_sequence(const unsigned char *s, size_t n)
{
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

    if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

/* A byte that is not plain, inside a string; the closing quote is not one of them. */
static bool special(struct scan *scan)
{
    unsigned char c = (unsigned char)*scan->at;

    if (c == '\\') {
        scan->at++;
        return escape(scan);
    }
    if (c < 0x20)
        return fail(scan, "a control character in a string");

    size_t len = utf8_sequence((const unsigned char *)scan->at, (size_t)(scan->end - scan->at));
    if (len == 0)
        return fail(scan, "not UTF-8");
    scan->at += len;
    return true;
}

bool scan_string(struct scan *scan, struct scan_text *text)
{
    if (scan_peek(scan) != SCAN_STRING)
        return fail(scan, "expected a string");

    const char *from = ++scan->at;
    bool escaped = false;
    for (;;) {
        const char *at = scan->at;

        while (at < scan->end && is_plain((unsigned char)*at))
            at++;
        scan->at = at;
        if (at == scan->end)
            return fail(scan, "a string that does not end");
        if (*at == '"')
            break;
        escaped = escaped || *at == '\\';
        if (!special(scan))
            return false;
    }
    *text = (struct scan_text){ .at = from, .n = (size_t)(scan->at - from), .escaped = escaped };
    scan->at++;
    return true;
}

bool scan_member(struct scan *scan, struct scan_text *name)
{
    if (!next_item(scan, '}'))
        return false;
    if (!scan_string(scan, name))
        return false;
    if (next_byte(scan) != ':')
        return fail(scan, "expected a colon");
    scan->at++;
    return true;
}

bool scan_element(struct scan *scan)
{
    return next_item(scan, ']');
}

static bool digits(struct scan *scan)
{
    const char *from = scan->at;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > from || fail(scan, "a number without digits");
}

static bool at_one_of(const struct scan *scan, const char *set)
{
    return scan->at < scan->end && *scan->at && strchr(set, *scan->at);
}

static bool number(struct scan *scan)
{
    if (*scan->at == '-')
        scan->at++;
    if (at_one_of(scan, "0"))
        scan->at++; /* a digit behind it is caught where a comma or an end is due */
    else if (!digits(scan))
        return false;
    if (at_one_of(scan, ".")) {
        scan->at++;
        if (!digits(scan))
            return false;
    }
    if (at_one_of(scan, "eE")) {
        scan->at++;
        if (at_one_of(scan, "+-"))
            scan->at++;
        return digits(scan);
    }
    return true;
}

static bool word(struct scan *scan, const char *expected)
{
    size_t n = strlen(expected);

    if ((size_t)(scan->end - scan->at) < n || memcmp(scan->at, expected, n) != 0)
        return fail(scan, "an unknown word");
    scan->at += n;
    return true;
}

static bool skip_object(struct scan *scan)
{
    struct scan_text name;

    if (!scan_open(scan, SCAN_OBJECT))
        return false;
    while (scan_member(scan, &name))
        if (!scan_skip(scan))
            return false;
    return !scan->wrong;
}

static bool skip_array(struct scan *scan)
{
    if (!scan_open(scan, SCAN_ARRAY))
        return false;
    while (scan_element(scan))
        if (!scan_skip(scan))
            return false;
    return !scan->wrong;
}

/* Recursion is bounded by SCAN_DEPTH_MAX. NOLINTNEXTLINE(misc-no-recursion) */
bool scan_skip(struct scan *scan)
{
    struct scan_text text;

    switch (scan_peek(scan)) {
    case SCAN_OBJECT:
        return skip_object(scan);
    case SCAN_ARRAY:
        return skip_array(scan);
    case SCAN_STRING:
        return scan_string(scan, &text);
    case SCAN_NUMBER:
        return number(scan);
    case SCAN_BOOL:
        return word(scan, *scan->at == 't' ? "true" : "false");
    case SCAN_NULL:
        return word(scan, "null");
    case SCAN_WRONG:
        break;
    }
    return fail(scan, "expected a value");
}

bool scan_finish(struct scan *scan)
{
    if (scan->wrong)
        return false;
    skip_space(scan);
    if (scan->at != scan->end || scan->depth > 0)
        return fail(scan, "something behind the value");
    return true;
}

bool scan_text_is(const struct scan_text *text, const char *literal)
{
    size_t n = strlen(literal);

    if (!text->escaped)
        return text->n == n && memcmp(text->at, literal, n) == 0;

    /* An escape only ever makes a text longer than what it stands for. */
    CLEANUP(strbuf_release) struct strbuf plain = STRBUF_INIT(text->n);
    scan_text_decode(text, &plain);
    return plain.len == n && memcmp(plain.data ? plain.data : "", literal, n) == 0;
}

static void add_utf8(struct strbuf *out, uint32_t code)
{
    char bytes[4];
    size_t n = 0;

    if (code < 0x80) {
        bytes[n++] = (char)code;
    } else if (code < 0x800) {
        bytes[n++] = (char)(0xc0 | code >> 6);
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        bytes[n++] = (char)(0xe0 | code >> 12);
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    } else {
        bytes[n++] = (char)(0xf0 | code >> 18);
        bytes[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    }
    strbuf_add(out, bytes, n);
}

/* The text was scanned before: an escape here is a valid one. */
static const char *decode_escape(const char *at, const char *end, struct strbuf *out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";

    if (*at == 'u') {
        at++;
        add_utf8(out, unicode_escape(&at, end));
        return at;
    }
    strbuf_add(out, &to[strchr(from, *at) - from], 1);
    return at + 1;
}

void scan_text_decode(const struct scan_text *text, struct strbuf *out)
{
    const char *at = text->at, *end = text->at + text->n;

    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));

        strbuf_add(out, at, (size_t)((slash ? slash : end) - at));
        at = slash ? decode_escape(slash + 1, end, out) : end;
    }
}
