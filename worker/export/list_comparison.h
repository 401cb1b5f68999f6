#ifndef WORKER_EXPORT_LIST_COMPARISON_H
#define WORKER_EXPORT_LIST_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The comparison of a list in Klaviyo with what an export knows (pure).
 *
 *     add     each address that a member or the ledger has, once
 *     meet    each profile of the list, in any order
 *     look    an address again, to name it
 *
 * Klaviyo gives its lists in no order that ours could be merged with, so one side has
 * to be remembered. It is ours, which is read within seconds, as 8 bytes for each
 * address: 61 bits of a keyed hash and three flags. 5,000,000 addresses at most (40 MB);
 * reading a list of this size takes over an hour. Among that many, two have the same
 * 61 bits with a probability of 5e-6.
 */
enum { LIST_COMPARISON_MAX = 5000000 };

enum list_knowledge {
    KNOWN_OURS = 1,   /* this export put it on the list, by the ledger */
    KNOWN_MEMBER = 2, /* a member that may be sent has it */
    KNOWN_MET = 4,    /* it is on the list; set by meet */
};

struct list_counts {
    int64_t profiles;         /* on the list */
    int64_t ours;             /* on the list, and ours */
    int64_t ours_left;        /* of these: no member has the address now */
    int64_t missing;          /* ours, and not on the list */
    int64_t missing_left;     /* of these: no member has the address now */
    int64_t not_ours;         /* on the list, and not put there by this export */
    int64_t not_ours_members; /* of these: a member has the address */
    int64_t without_address;  /* of not_ours: profiles that have none */
    int64_t not_sent;         /* members whose address this export did not put there yet */
};

struct list_comparison {
    uint64_t *entries;
    size_t n;
    size_t cap;
    bool sorted;
    unsigned char key[16]; /* crypto_shorthash_KEYBYTES */
    struct list_counts counts;
};

/* Draws a key. release frees the memory. */
void list_comparison_init(struct list_comparison *comparison);
void list_comparison_release(struct list_comparison *comparison);

/*
 * Trimmed and in lower case, as the ledger has it; each address once. known: flags, none of them
 * MET. Before the first meet. ERROR_INPUT: there are too many; ERROR_RETRY: out of memory.
 */
bool list_comparison_add(struct list_comparison *comparison, const char *address, size_t len,
                         unsigned known, struct error *err) MUST_USE;

/*
 * A profile of the list, by its address as Klaviyo has it ("": it has none). True: it is not
 * ours. One that comes twice, because the list changed while it was read, counts once where it is
 * ours.
 */
bool list_comparison_meet(struct list_comparison *comparison, const char *email);

/* The flags of an address; 0: it was not added. After the last add. */
unsigned list_comparison_look(struct list_comparison *comparison, const char *address, size_t len);

/* Final after the last meet. */
struct list_counts list_comparison_counts(const struct list_comparison *comparison);

#endif
