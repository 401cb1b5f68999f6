#ifndef WORKER_ADMIN_SOURCE_JUDGEMENT_H
#define WORKER_ADMIN_SOURCE_JUDGEMENT_H

#include "common/json.h"
#include "worker/cli/command.h"
#include "worker/store/exports.h"

/*
 * What upstream's data say about an export that is about to be stored: members
 * with a well-formed address and with each mapped field. A name that under 1 %
 * of them have is likely wrong: an error, unless forced. Under 50 % is a
 * warning, as are segments without members or with more than --max-profiles.
 */
struct source_scope {
    bool address; /* segments or the e-mail field are given */
    bool fields;  /* segments or fields are */
    bool force;
};

/* False: ERROR_INPUT, nothing is to be stored. Warnings are printed. */
bool source_judge(struct context *context, const struct export_draft *draft,
                  const struct source_scope *scope, struct error *err) MUST_USE;

/* The same of an object that exports_look() gave (pure but for what it prints). */
bool source_judge_seen(json_t *seen, const char *name, const struct source_scope *scope,
                       struct error *err) MUST_USE;

#endif
