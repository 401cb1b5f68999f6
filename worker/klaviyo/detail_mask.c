#include "worker/klaviyo/detail_mask.h"

#include <stdlib.h>
#include <string.h>

#include "common/ascii.h"

/* A run of letters of the text, in small ones. */
struct word {
    const char *small;
    size_t n;
    size_t at; /* in the text */
};

enum {
    WORDS_MAX = DETAIL_MASK_MAX_BYTES / 2 + 1, /* of one letter, a blank behind each */
    CUT_BYTES = DETAIL_MASK_MAX_BYTES - 3,     /* a cut before may have left out a character */
};

struct masking {
    const char *text;
    size_t n;
    char small[DETAIL_MASK_MAX_BYTES];
    bool hidden[DETAIL_MASK_MAX_BYTES]; /* byte by byte */
    struct word words[WORDS_MAX];       /* sorted, once values are looked for */
    size_t n_words;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_part_of_word(char c)
{
    return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || is_digit(c);
}

static bool is_beyond_ascii(char c)
{
    return ((unsigned char)c & 0x80) != 0;
}

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7F;
}

static void hide(struct masking *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        m->hidden[i] = true;
}

/* ---- by the text alone ---- */

/* Words between blanks. */
static void hide_doubtful(struct masking *m)
{
    for (size_t from = 0, to; from < m->n; from = to + 1) {
        bool doubtful = false, foreign = false;

        for (to = from; to < m->n && !is_blank(m->text[to]); to++) {
            doubtful = doubtful || m->text[to] == '@' || is_digit(m->text[to]);
            foreign = foreign || is_beyond_ascii(m->text[to]);
        }
        if (doubtful || foreign)
            hide(m, from, foreign ? m->n : to);
    }
}

static bool is_word_at(const struct masking *m, size_t i)
{
    return i < m->n && is_part_of_word(m->text[i]);
}

/* Apostrophes are within words; a quote that opens none is not yet one that closes. */
static size_t end_of_quote(const struct masking *m, size_t from)
{
    char quote = m->text[from];

    for (size_t i = from + 1; i < m->n; i++)
        if (m->text[i] == quote && !(quote == '\'' && is_word_at(m, i + 1)))
            return i + 1;
    return m->n;
}

static void hide_quoted(struct masking *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (!strchr("\"'`", m->text[i]) || (m->text[i] == '\'' && i > 0 && is_word_at(m, i - 1)))
            continue;
        size_t end = end_of_quote(m, i);
        hide(m, i, end);
        i = end - 1;
    }
}

static void hide_cut(struct masking *m)
{
    size_t from = m->n;

    if (m->n < CUT_BYTES)
        return;
    while (from > 0 && !is_blank(m->text[from - 1]))
        from--;
    hide(m, from, m->n);
}

/* ---- by the values of the request ---- */

static int compare(const void *a, const void *b)
{
    const struct word *x = a, *y = b;

    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return memcmp(x->small, y->small, x->n);
}

static void find_words(struct masking *m)
{
    for (size_t i = 0; i < m->n; i++)
        m->small[i] = ascii_lower(m->text[i]);
    for (size_t from = 0, to; from < m->n; from = to + 1) {
        for (to = from; is_word_at(m, to);)
            to++;
        if (to > from && !m->hidden[from])
            m->words[m->n_words++] = (struct word){ m->small + from, to - from, from };
    }
    qsort(m->words, m->n_words, sizeof *m->words, compare);
}

/* The word may occur in the text more than once. */
static void hide_word(struct masking *m, const char *letters, size_t n)
{
    const struct word wanted = { letters, n, 0 };
    const struct word *found =
        n > 0 ? bsearch(&wanted, m->words, m->n_words, sizeof *m->words, compare) : NULL;

    if (!found || m->hidden[found->at])
        return;
    while (found > m->words && compare(found - 1, &wanted) == 0)
        found--;
    for (; found < m->words + m->n_words && compare(found, &wanted) == 0; found++)
        hide(m, found->at, found->at + n);
}

static unsigned hex_digit(char c)
{
    if (is_digit(c))
        return (unsigned)(c - '0');
    return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? (unsigned)(ascii_lower(c) - 'a') + 10
                                                          : 0;
}

/* Where a character of the inside of a JSON string is; escapes are one. */
static char read_character(const char **at, const char *end)
{
    const char *p = *at;
    unsigned code = 0;

    if (*p != '\\' || end - p < 2) {
        *at = p + 1;
        return *p;
    }
    *at = p + 2;
    if (p[1] != 'u' || end - p < 6)
        return ' '; /* a quote, a backslash, a control character: none of them is of a word */
    *at = p + 6;
    for (size_t i = 2; i < 6; i++)
        code = code * 16 + hex_digit(p[i]);
    return (char)(code < 0x80 ? code : ' ');
}

static void look_for_words(struct masking *m, const char *at, const char *end)
{
    char letters[DETAIL_MASK_MAX_BYTES];
    size_t n = 0;

    while (at < end) {
        char c = ascii_lower(read_character(&at, end));

        if (!is_part_of_word(c)) {
            if (n <= sizeof letters)
                hide_word(m, letters, n);
            n = 0;
            continue;
        }
        if (n < sizeof letters)
            letters[n] = c;
        n++;
    }
    if (n <= sizeof letters)
        hide_word(m, letters, n);
}

/* at: behind the quote that opens it. Where the one that closes it is. */
static const char *end_of_string(const char *at, const char *end)
{
    while (at < end && *at != '"')
        at += *at == '\\' && end - at > 1 ? 2 : 1;
    return at;
}

static bool is_name(const char *behind, const char *end)
{
    while (behind < end && is_blank(*behind))
        behind++;
    return behind < end && *behind == ':';
}

enum {
    DEPTH_OF_VALUES = 2, /* above it: the object's own type */
    DEPTH_OF_NAMES = 3,  /* below it: names within a property's value */
};

static void hide_values(struct masking *m, const char *at, const char *end)
{
    size_t depth = 0;

    while (at < end) {
        const char *from = at;

        if (*at == '"') {
            at = end_of_string(++from, end);
            bool name = at < end && is_name(at + 1, end);
            if (depth >= DEPTH_OF_VALUES && (!name || depth > DEPTH_OF_NAMES))
                look_for_words(m, from, at);
            at += at < end;
        } else if (is_part_of_word(*at)) {
            while (at < end && is_part_of_word(*at))
                at++;
            look_for_words(m, from, at);
        } else {
            depth += *at == '{' || *at == '[';
            depth -= (*at == '}' || *at == ']') && depth > 0;
            at++;
        }
    }
}

/* ---- what is left ---- */

/* A word of the result with what precedes it; false: there is no room. */
static bool put(char *out, size_t size, size_t *used, const char *piece, size_t n)
{
    if (n > size - 1 - *used)
        return false;
    memcpy(out + *used, piece, n);
    *used += n;
    return true;
}

/* From a blank to the next one; masked parts become one mark each. */
static bool put_word(const struct masking *m, size_t from, size_t to, char *out, size_t size,
                     size_t *used)
{
    static const char mark[] = DETAIL_MASK_MARK;
    size_t before = *used;

    if (before > 0 && !put(out, size, used, " ", 1))
        return false;
    for (size_t i = from; i < to; i++) {
        bool ok = true;

        if (!m->hidden[i])
            ok = put(out, size, used, m->text + i, 1);
        else if (i == from || !m->hidden[i - 1])
            ok = put(out, size, used, mark, sizeof mark - 1);
        if (!ok) {
            *used = before;
            return false;
        }
    }
    return true;
}

static bool is_hidden(const struct masking *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (!m->hidden[i])
            return false;
    return true;
}

/* Masked words in a row are one mark. */
static bool put_all(const struct masking *m, char *out, size_t size)
{
    bool whole = true, marked = false;
    size_t used = 0;

    for (size_t from = 0, to; from < m->n; from = to + 1) {
        for (to = from; to < m->n && !is_blank(m->text[to]); to++)
            whole = whole && !m->hidden[to];
        if (to == from || (marked && is_hidden(m, from, to)))
            continue;
        if (!put_word(m, from, to, out, size, &used)) {
            whole = false;
            break;
        }
        marked = is_hidden(m, from, to);
    }
    out[used] = '\0';
    return whole;
}

bool detail_mask(char *out, size_t size, const char *text, const char *objects, size_t n)
{
    struct masking masking = { .text = text, .n = strnlen(text, DETAIL_MASK_MAX_BYTES) };

    hide_doubtful(&masking);
    hide_quoted(&masking);
    hide_cut(&masking);
    find_words(&masking);
    if (masking.n_words > 0 && n > 0)
        hide_values(&masking, objects, objects + n);
    return put_all(&masking, out, size);
}
