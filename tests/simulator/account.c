#include "tests/simulator/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/identity.h"
#include "tests/simulator/memory.h"

#define DAY_US 86400000000U

struct account *accounts_find(const struct accounts *accounts, const char *id)
{
    for (size_t i = 0; i < accounts->n; i++)
        if (strcmp(accounts->list[i]->id, id) == 0)
            return accounts->list[i];
    return NULL;
}

struct account *accounts_put(struct accounts *accounts, const char *id)
{
    struct account *account = accounts_find(accounts, id);

    if (account)
        return account;

    account = memory_new(sizeof *account);
    (void)snprintf(account->id, sizeof account->id, "%s", id);
    account->organization_name = memory_string("Example Shop");
    account->usage_max = 1000000;
    account->phase_us = (int64_t)(identity_random() % DAY_US);
    account->profiles.salt = identity_random();
    accounts->list =
        memory_grow(accounts->list, &accounts->cap, accounts->n + 1, sizeof(struct account *));
    accounts->list[accounts->n++] = account;
    return account;
}

struct key *accounts_key(const struct accounts *accounts, const char *text)
{
    for (size_t i = 0; i < accounts->n_keys; i++)
        if (strcmp(accounts->keys[i].text, text) == 0)
            return &accounts->keys[i];
    return NULL;
}

void accounts_put_key(struct accounts *accounts, const char *text, struct account *account,
                      unsigned scopes)
{
    struct key *key = accounts_key(accounts, text);

    if (!key) {
        accounts->keys = memory_grow(accounts->keys, &accounts->keys_cap, accounts->n_keys + 1,
                                     sizeof *accounts->keys);
        key = &accounts->keys[accounts->n_keys++];
        key->text = memory_string(text);
    }
    key->account = account;
    key->scopes = scopes;
}

bool accounts_drop_key(struct accounts *accounts, const char *text)
{
    struct key *key = accounts_key(accounts, text);

    if (!key)
        return false;
    free(key->text);
    *key = accounts->keys[--accounts->n_keys];
    return true;
}

static void account_free(struct account *account)
{
    for (size_t i = 0; i < N_OPERATIONS; i++)
        traffic_release(&account->lanes[i].traffic);
    profiles_release(&account->profiles);
    free(account->organization_name);
    free(account);
}

void accounts_release(struct accounts *accounts)
{
    for (size_t i = 0; i < accounts->n; i++)
        account_free(accounts->list[i]);
    for (size_t i = 0; i < accounts->n_keys; i++)
        free(accounts->keys[i].text);
    free(accounts->list);
    free(accounts->keys);
    *accounts = (struct accounts){ 0 };
}
