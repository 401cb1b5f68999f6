#ifndef SIMULATOR_CALL_H
#define SIMULATOR_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/simulator/answer.h"
#include "tests/simulator/import.h"
#include "tests/simulator/request.h"
#include "tests/simulator/world.h"

/*
 * One request under /api being served: what came, whose it is, and the answer
 * that grows. The functions call_… are the operations; each writes an answer.
 * All of them want the world's lock held.
 */
struct call {
    struct world *world;
    struct request *request;
    struct answer *answer;
    struct behaviour behaviour; /* as it was when the request came */
    uint64_t epoch;
    bool routed;
    enum operation operation; /* only if routed */
    char id[PATH_ID_MAX];     /* what the path names */
    struct account *account;  /* NULL: nobody known */
    unsigned scopes;
    const char *key;
    int64_t now_us;
    struct import import; /* of the two operations that import */
    bool parsed;
    bool limited;   /* rate limit headers are due */
    bool faulted;   /* a fault has answered */
    unsigned fault; /* 0: none */
    int delay_ms;
    bool malformed;
    bool reset_after; /* break the connection when the work is done */
    enum job_fate fate;
    uint32_t fate_rows;
    int64_t since_promise_us; /* -1: no promise was open */
    char job[IDENTITY_JOB_BYTES];
    char list[64];
    char sha256[65];
};

/* Bulk import and its jobs. */
void call_import(struct call *call);
void call_job(struct call *call);
void call_jobs(struct call *call);
void call_job_lists(struct call *call);
void call_job_profiles(struct call *call);
void call_import_errors(struct call *call);

/* Lists. */
void call_list(struct call *call);
void call_lists(struct call *call);
void call_list_create(struct call *call);
void call_list_change(struct call *call); /* adds or removes */
void call_list_members(struct call *call);
void call_list_flows(struct call *call);

/* Profiles. */
void call_profile(struct call *call);
void call_profiles(struct call *call);
void call_profile_import(struct call *call);

/* The account. */
void call_accounts(struct call *call);
void call_usage(struct call *call);

/* A parameter other than these is refused; false if so. allowed ends with NULL. */
bool call_allows(struct call *call, const char *const *allowed) MUST_USE;

#endif
