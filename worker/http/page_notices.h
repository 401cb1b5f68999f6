#ifndef WORKER_HTTP_PAGE_NOTICES_H
#define WORKER_HTTP_PAGE_NOTICES_H

#include <jansson.h>

#include "common/strbuf.h"
#include "worker/http/page.h"

/*
 * What comes first on the status page if something is wrong (pure): the database
 * unreachable, letters or outcomes that their broker does not take, another session's lock
 * that holds up events or runs, a key pair that is not this worker's, connections that
 * need attention. For page*.c only; all append to out. report: as of status_report.h, may be
 * NULL.
 */
void page_add_notices(struct strbuf *out, const struct page_facts *facts, const json_t *report);

/* The first of them alone: the page is out of date, how far, and why. */
void page_add_database_notice(struct strbuf *out, const struct page_facts *facts);

#endif
