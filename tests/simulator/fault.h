#ifndef SIMULATOR_FAULT_H
#define SIMULATOR_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "tests/simulator/job.h"

/*
 * Faults: rules that spoil chosen requests.
 *
 * A rule sees every request that its conditions fit and that was authenticated
 * and within the limits; it lets `skip` of them pass, spoils `times` of the
 * rest (-1: all) with `probability`, and is then spent. The oldest rule that
 * fires takes the request.
 */
enum reset { RESET_NO, RESET_BEFORE, RESET_AFTER };

struct fault_action {
    int status; /* answered instead of doing the work; 0: none */
    char *body;
    char *content_type;
    json_t *headers; /* object of strings, or NULL */
    int throttle_s;  /* 429 with that Retry-After; 0: none */
    int delay_ms;
    enum reset reset;
    bool html403;
    int64_t truncate; /* bytes of the body that are sent; -1: all */
    bool malformed;
    enum job_fate fate;
    uint32_t fate_rows;
};

struct fault {
    unsigned id;
    char method[16], endpoint[24], path_contains[128], key[128], account[64]; /* "": any */
    int64_t skip, times;
    double probability;
    uint64_t seen, hits;
    struct fault_action action;
    json_t *rule; /* as it was given */
};

struct faults {
    struct fault *list;
    size_t cap, n;
    unsigned last_id;
};

struct fault_subject {
    const char *method, *endpoint, *path, *key, *account;
};

/* The id of the new rule, or 0 and err. */
unsigned faults_add(struct faults *faults, json_t *rule, struct error *err) MUST_USE;

/*
 * The rule that fires for this request, counted; NULL if none does. Lent until
 * rules are added or cleared; the action's texts too.
 */
const struct fault *faults_draw(struct faults *faults, const struct fault_subject *subject)
    MUST_USE;

/* It could not take effect: the rule may strike once more. One that is gone is no error. */
void faults_give_back(struct faults *faults, unsigned id);

/* The rules with their counts; the caller owns the result. */
json_t *faults_json(const struct faults *faults) MUST_USE;

void faults_release(struct faults *faults);

#endif
