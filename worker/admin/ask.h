#ifndef WORKER_ADMIN_ASK_H
#define WORKER_ADMIN_ASK_H

#include "common/secret.h"
#include "common/settings.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/list.h"
#include "worker/klaviyo/usage.h"
#include "worker/store/db.h"

/*
 * Questions to Klaviyo, one at a time, for commands. They only read. Each is
 * asked again a few times where the answer says so; every request takes a place
 * in the account's budget, which all workers share.
 */
struct asker;

/*
 * The key is copied and wiped with the asker. account: whose budget counts, as
 * the workers call it; NULL: not known yet, so that nothing can be counted.
 */
struct asker *asker_new(const struct settings *settings, struct db *db, const struct secret *key,
                        const char *account, struct error *err) MUST_USE;
void asker_free(struct asker *asker);
DEFINE_OWNER(asker)

enum ask_outcome {
    ASK_ANSWERED,
    ASK_GONE,          /* there is no such list */
    ASK_KEY_REFUSED,   /* the key is no good; err says so */
    ASK_SCOPE_MISSING, /* the key may not read this, which says nothing about the rest; likewise */
    ASK_FAILED,        /* err says why */
};

enum ask_outcome ask_account(struct asker *asker, struct account *account, struct error *err)
    MUST_USE;
enum ask_outcome ask_list(struct asker *asker, const char *list_id, struct list *list,
                          struct error *err) MUST_USE;
enum ask_outcome ask_usage(struct asker *asker, struct usage *usage, struct error *err) MUST_USE;

#endif
