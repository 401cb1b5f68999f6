#ifndef WORKER_TASK_KLAVIYO_QUERY_H
#define WORKER_TASK_KLAVIYO_QUERY_H

#include "common/secret.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/list_page.h"
#include "worker/klaviyo/profile_lookup.h"
#include "worker/klaviyo/usage.h"
#include "worker/settings/settings.h"
#include "worker/store/db.h"

/*
 * Questions to Klaviyo, one at a time, for tasks and commands. They only read. Each is
 * asked again a few times where the response says so; every request takes a permit of the
 * account's rate limit, which all workers share; they also share the time until which
 * Klaviyo wants no requests.
 */
struct klaviyo_query;

struct klaviyo_query_options {
    const struct settings *settings; /* these two outlive the query */
    struct db *db;
    const struct secret *key; /* copied, and wiped when the query is freed */

    /*
     * Whose rate limit counts, as the workers call it; NULL: not known yet. Then
     * requests are counted for the key, and for the account as soon as
     * klaviyo_query_account() has brought it.
     */
    const char *account;
    const int *stop_fd; /* readable: give up (ERROR_LOST). NULL: nobody asks for it */
};

/* NULL on failure. */
struct klaviyo_query *klaviyo_query_new(const struct klaviyo_query_options *options,
                                        struct error *err) MUST_USE;
void klaviyo_query_free(struct klaviyo_query *query);
DEFINE_OWNER(klaviyo_query)

enum klaviyo_query_outcome {
    KLAVIYO_QUERY_ANSWERED,
    KLAVIYO_QUERY_GONE,          /* there is no such list */
    KLAVIYO_QUERY_KEY_REFUSED,   /* the key is no good; err says so */
    KLAVIYO_QUERY_SCOPE_MISSING, /* the key may not read this, which says nothing about the rest;
                                    err says so */
    KLAVIYO_QUERY_FAILED,        /* err says why */
};

/*
 * Each waits 30 s at most, all attempts together; where it says that it is one of several,
 * 10 minutes for permits, though trouble ends it after as few attempts. Results are written
 * for ANSWERED only; err for all others but GONE.
 */
enum klaviyo_query_outcome klaviyo_query_account(struct klaviyo_query *query,
                                                 struct account *account, struct error *err)
    MUST_USE;
/* One of several. */
enum klaviyo_query_outcome klaviyo_query_list(struct klaviyo_query *query, const char *list_id,
                                              struct klaviyo_list *list, struct error *err)
    MUST_USE;
enum klaviyo_query_outcome klaviyo_query_usage(struct klaviyo_query *query, struct usage *usage,
                                               struct error *err) MUST_USE;

/*
 * A page of the account's lists, and how many profiles one has (-1: not known). next: as
 * below. Both wait as long as a page of profiles does: there may be many.
 */
enum klaviyo_query_outcome klaviyo_query_lists(struct klaviyo_query *query, const char *next,
                                               struct list_page *page, struct error *err) MUST_USE;
enum klaviyo_query_outcome klaviyo_query_list_size(struct klaviyo_query *query, const char *list_id,
                                                   int64_t *profiles, struct error *err) MUST_USE;

/* *live: flows that begin with being added to the list. several: it is one of several. */
enum klaviyo_query_outcome klaviyo_query_flows(struct klaviyo_query *query, const char *list_id,
                                               bool several, int64_t *live, struct error *err)
    MUST_USE;

/*
 * A page of the list's profiles; next: from the page before, NULL for the first. Many pages
 * are read one after the other, so each waits for limits and trouble 10 minutes at most. The
 * caller releases the page.
 */
enum klaviyo_query_outcome klaviyo_query_list_profiles(struct klaviyo_query *query,
                                                       const char *list_id, const char *next,
                                                       struct profile_page *page, struct error *err)
    MUST_USE;

#endif
