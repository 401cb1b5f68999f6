#ifndef SIMULATOR_RESOURCE_H
#define SIMULATOR_RESOURCE_H

#include "tests/simulator/call.h"

/*
 * Resource objects: how a job, a list, a profile … is written in an answer.
 * Each appends one JSON object to out. Members that real answers carry beyond
 * the published schema are there too: a client must not mind them.
 */
void resource_job(struct call *call, struct strbuf *out, const struct job *job);
void resource_list(struct call *call, struct strbuf *out, const struct list *list, bool count);
void resource_import_error(struct call *call, struct strbuf *out, const struct job_error *error);

/* list: whose member it is shown as (adds joined_group_at), or NULL. */
void resource_profile(struct call *call, struct strbuf *out, struct account *account,
                      uint32_t number, const struct list *list);

/* {"type":…,"id":…} and nothing else. */
void resource_identifier(struct strbuf *out, const char *type, const char *id);

void resource_account(struct call *call, struct strbuf *out, const struct account *account);
void resource_flow(struct call *call, struct strbuf *out, const struct list *list,
                   const struct flow *flow);
void resource_usage(struct call *call, struct strbuf *out, const struct account *account);

#endif
