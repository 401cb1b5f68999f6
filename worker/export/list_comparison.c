#include "worker/export/list_comparison.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/ascii.h"

enum {
    FLAGS = KNOWN_OURS | KNOWN_MEMBER | KNOWN_MET,
    EMAIL_MAX_BYTES = 320, /* longer ones are not ours: address.h admits 254 */
};

static_assert(crypto_shorthash_KEYBYTES == sizeof((struct list_comparison *)0)->key,
              "SipHash's key");

void list_comparison_init(struct list_comparison *comparison)
{
    *comparison = (struct list_comparison){ .entries = NULL };
    crypto_shorthash_keygen(comparison->key);
}

void list_comparison_release(struct list_comparison *comparison)
{
    free(comparison->entries);
    comparison->entries = NULL;
    comparison->n = comparison->cap = 0;
}

static uint64_t hash_of(const struct list_comparison *comparison, const char *address, size_t len)
{
    unsigned char bytes[crypto_shorthash_BYTES];
    uint64_t hash;

    (void)crypto_shorthash(bytes, (const unsigned char *)address, len, comparison->key);
    memcpy(&hash, bytes, sizeof hash);
    return hash & ~(uint64_t)FLAGS;
}

/* An address that only the ledger has, not as delivered, says nothing of the list. */
static void count_known(struct list_counts *counts, unsigned known)
{
    if (!(known & KNOWN_OURS)) {
        counts->not_sent++;
        return;
    }
    counts->missing++; /* until it is met */
    counts->missing_left += !(known & KNOWN_MEMBER);
}

bool list_comparison_add(struct list_comparison *comparison, const char *address, size_t len,
                         unsigned known, struct error *err)
{
    assert(!comparison->sorted && known != 0 && !(known & KNOWN_MET));
    if (comparison->n == LIST_COMPARISON_MAX)
        return error_set(err, ERROR_INPUT,
                         "more than %d addresses are members or were sent: that many cannot be "
                         "compared",
                         LIST_COMPARISON_MAX);
    if (comparison->n == comparison->cap) {
        uint64_t *entries =
            array_grow(comparison->entries, comparison->n, &comparison->cap, sizeof *entries);
        if (!entries)
            return error_no_memory(err);
        comparison->entries = entries;
    }
    comparison->entries[comparison->n++] = hash_of(comparison, address, len) | known;
    count_known(&comparison->counts, known);
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static int compare_hashes(const void *key, const void *entry)
{
    uint64_t x = *(const uint64_t *)key, y = *(const uint64_t *)entry & ~(uint64_t)FLAGS;

    return (x > y) - (x < y);
}

static uint64_t *find(struct list_comparison *comparison, const char *address, size_t len)
{
    uint64_t hash = hash_of(comparison, address, len);

    if (comparison->n == 0)
        return NULL;
    if (!comparison->sorted)
        qsort(comparison->entries, comparison->n, sizeof hash, compare_entries);
    comparison->sorted = true;
    return bsearch(&hash, comparison->entries, comparison->n, sizeof hash, compare_hashes);
}

/* Where it is ours, and comes for the first time. */
static void count_ours(struct list_counts *counts, unsigned known)
{
    bool left = !(known & KNOWN_MEMBER);

    if (known & KNOWN_MET)
        return;
    counts->ours++;
    counts->ours_left += left;
    counts->missing--;
    counts->missing_left -= left;
}

/* Klaviyo has ASCII letters in lower case; what it has from elsewhere may not be. */
static size_t lower(char *out, const char *email)
{
    size_t n = strnlen(email, EMAIL_MAX_BYTES);

    for (size_t i = 0; i < n; i++)
        out[i] = ascii_lower(email[i]);
    return n;
}

bool list_comparison_meet(struct list_comparison *comparison, const char *email)
{
    struct list_counts *counts = &comparison->counts;
    char address[EMAIL_MAX_BYTES];
    size_t len = lower(address, email);
    uint64_t *entry = len > 0 ? find(comparison, address, len) : NULL;
    unsigned known = entry ? (unsigned)*entry & FLAGS : 0;

    if (known & KNOWN_OURS) {
        counts->profiles += !(known & KNOWN_MET);
        count_ours(counts, known);
    } else {
        counts->profiles++;
        counts->not_ours++;
        counts->not_ours_members += (known & KNOWN_MEMBER) != 0;
        counts->without_address += len == 0;
    }
    if (entry)
        *entry |= KNOWN_MET;
    return !(known & KNOWN_OURS);
}

unsigned list_comparison_look(struct list_comparison *comparison, const char *address, size_t len)
{
    const uint64_t *entry = find(comparison, address, len);

    return entry ? (unsigned)*entry & FLAGS : 0;
}

struct list_counts list_comparison_counts(const struct list_comparison *comparison)
{
    return comparison->counts;
}
