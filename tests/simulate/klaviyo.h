#ifndef TESTS_SIMULATE_KLAVIYO_H
#define TESTS_SIMULATE_KLAVIYO_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/simulate/scale.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * Klaviyo: profiles, lists and import jobs of two accounts. A request arrives some time
 * after it was sent, does what it does in one moment, and its answer travels back, or is
 * lost. A job takes its time, and what it brings counts from its end on: the last one to
 * end wins.
 *
 * client.c is the product's way to it (klaviyo/client.h).
 */
struct klaviyo_profile {
    bool known;
    int value[EXPORTS]; /* of the attribute of each, from the last job that brought it; 0: none */
    bool on_list[LISTS];
};

extern struct klaviyo_profile klaviyo_profiles[ACCOUNTS][PEOPLE];

struct exchange {
    bool used, arrived;
    void *client; /* NULL: nobody waits for its answer any more */
    void *tag;
    enum endpoint endpoint;
    int account;
    int64_t batch; /* of an import */
    char id[64];
    char *text; /* body, or the filter of a look-up */
    int64_t started_ms, arrives_ms, answers_ms;
    enum transport transport;
    int status;
    int retry_after_s; /* 0: not said */
    char *body;
};

void klaviyo_begin(void);
void *klaviyo_run(void *unused);
void klaviyo_stop(void);

/* How much trouble it makes, of a thousand requests; and for so long nothing works at all. */
void klaviyo_troubles(int permille);
void klaviyo_is_away(int64_t ms);

/* The account's present key is valid, or not any more. */
void klaviyo_refuse_key(int account, bool refuse);

/* Sends a copy, which owns its text then. */
struct exchange *klaviyo_send(const struct exchange *exchange);

/* The i-th exchange there is room for; for those who look for their own. */
struct exchange *klaviyo_exchange(int i);
void klaviyo_drop(struct exchange *exchange);

/* The end of the job is recorded: whoever owns its run may not poll it again. */
void klaviyo_note_over(const char *name);
bool klaviyo_is_over(const char *name);

/* No job will bring anything any more. */
bool klaviyo_is_quiet(void);

#endif
