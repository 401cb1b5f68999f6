#ifndef WORKER_EXPORT_SCAN_STOP_H
#define WORKER_EXPORT_SCAN_STOP_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret_source.h"
#include "worker/export/member_scan.h"

/*
 * A stop for a scan that only reads. The database may count or sort for as long as it
 * likes, and no observer is asked meanwhile: so once the observer's stop_fd is readable, a
 * thread cancels what the server does for the scan, again and again until the scan is over
 * (a cancel between two statements cancels nothing).
 */
struct scan_stop;

/*
 * Opens the scan's two reading connections, in one snapshot. *out: to be freed before they
 * are closed, so that nothing later is cancelled; NULL where nobody can stop the scan, or
 * nothing was opened. Where it fails, too, what was opened is the scan's to close.
 */
bool scan_stop_open(struct scan_stop **out, struct member_scan *scan,
                    const struct secret_source *url, const char *name, struct error *err) MUST_USE;
void scan_stop_free(struct scan_stop *stop);
DEFINE_OWNER(scan_stop)

/* False, always. What failed while the scan was to stop failed by that: ERROR_LOST. */
bool scan_stop_failure(const struct scan_observer *observer, struct error *err);

#endif
