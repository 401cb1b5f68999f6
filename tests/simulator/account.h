#ifndef SIMULATOR_ACCOUNT_H
#define SIMULATOR_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "tests/simulator/limit.h"
#include "tests/simulator/operation.h"
#include "tests/simulator/profile.h"
#include "tests/simulator/traffic.h"

/*
 * Accounts and the keys that open them. Each account has its own profiles and,
 * for each endpoint, a lane: how much of the limit is used, until when clients
 * were told to stay away, and what came. The lanes of an account share one
 * arbitrary phase, so that no client can rely on windows that begin at whole
 * seconds or minutes.
 */
struct lane {
    struct limit_use use;
    struct traffic traffic;
    int64_t promised_us;       /* when the last Retry-After was given */
    int64_t promised_until_us; /* and when it is over */
    int64_t closed_until_us;   /* a throttle fault refuses everything until then */
};

struct account {
    char id[64];
    char *organization_name;
    int64_t usage_used, usage_max;
    int64_t phase_us;
    uint64_t profiles_received, profiles_accepted;
    struct profiles profiles;
    struct lane lanes[N_OPERATIONS];
};

struct key {
    char *text;
    struct account *account;
    unsigned scopes;
};

struct accounts {
    struct account **list;
    size_t cap, n;
    struct key *keys;
    size_t keys_cap, n_keys;
};

/* NULL if there is none. */
struct account *accounts_find(const struct accounts *accounts, const char *id);

/* The one with that id; it is made if need be. */
struct account *accounts_put(struct accounts *accounts, const char *id);

/* NULL if there is none. Lent until a key is put or dropped. */
struct key *accounts_key(const struct accounts *accounts, const char *text);

/* The key, made or changed. */
void accounts_put_key(struct accounts *accounts, const char *text, struct account *account,
                      unsigned scopes);
bool accounts_drop_key(struct accounts *accounts, const char *text);

void accounts_release(struct accounts *accounts);

#endif
