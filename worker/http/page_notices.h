#ifndef WORKER_HTTP_PAGE_NOTICES_H
#define WORKER_HTTP_PAGE_NOTICES_H

#include <jansson.h>

#include "common/strbuf.h"
#include "worker/http/page.h"

/*
 * What stands first on the status page where something is not as it should be (pure):
 * the database away, letters or outcomes that their broker does not take, somebody's lock
 * that holds up events or runs, a key pair that is not this worker's, connections that
 * need attention. For page*.c only; all append to out. report: as of status_report.h, may be
 * NULL.
 */
void page_add_notices(struct strbuf *out, const struct page_facts *facts, const json_t *report);

/* The first of them alone: that what is shown is old, how old, and why. */
void page_add_database_notice(struct strbuf *out, const struct page_facts *facts);

#endif
