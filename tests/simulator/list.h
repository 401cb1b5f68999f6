#ifndef SIMULATOR_LIST_H
#define SIMULATOR_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "tests/simulator/account.h"

enum { LIST_FLOWS_MAX = 8 };

/* A flow that the list triggers. */
struct flow {
    char id[16];
    char name[64];
    char status[16]; /* "draft", "manual", "live"; empty: null */
    bool archived;
};

/*
 * Lists and who is on them. Membership is an array over the account's profile
 * numbers that holds when each joined. A deleted list stays in memory, so that
 * whoever points at it may go on doing so, but is found no more.
 */
struct list {
    char id[64];
    struct account *account;
    char *name;
    char opt_in[16]; /* "single_opt_in", "double_opt_in" */
    int64_t created_us, updated_us;
    bool deleted;
    uint32_t *joined_s; /* by profile number; seconds since 1970; 0: not a member */
    size_t cap;
    size_t members;
    struct flow flows[LIST_FLOWS_MAX];
    size_t n_flows;
};

struct lists {
    struct list **list;
    size_t cap, n;
};

/* NULL if there is none, or it is deleted. */
struct list *lists_find(const struct lists *lists, const char *id);

/* A new list; id NULL: one is made up. The id must not be in use. */
struct list *lists_add(struct lists *lists, const char *id, struct account *account,
                       const char *name, int64_t now_us);

bool list_has(const struct list *list, uint32_t profile);

/* A repeat changes nothing: the time of the first joining stays. */
void list_join(struct list *list, uint32_t profile, int64_t now_us);
void list_leave(struct list *list, uint32_t profile);

void lists_release(struct lists *lists);

#endif
