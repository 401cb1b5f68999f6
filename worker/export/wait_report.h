#ifndef WORKER_EXPORT_WAIT_REPORT_H
#define WORKER_EXPORT_WAIT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/export/delivery_wait.h"

/*
 * What a run was last reported to wait for, and when to report it again (pure): at
 * once when that changes, and once a minute (contract). A run that was parked has been
 * reported: it reports nothing new until it has had the time to look.
 * Times in _ms are of clock_ms(), those in _us are UTC.
 */
struct wait_report {
    enum wait_kind kind; /* as reported last */
    int64_t since_us;    /* while one is reported */
    int64_t logged_ms;
    int64_t steady_from_ms;
};

enum { WAIT_REPORT_DETAIL_BYTES = 384 };

/* As a parked run left it: logged logged_ago_ms ago. Not for NONE. */
void wait_report_resume(struct wait_report *report, enum wait_kind kind, int64_t since_us,
                        int64_t logged_ago_ms, int64_t now_ms);

/* It is to be logged with the next report. */
bool wait_report_is_due(const struct wait_report *report, enum wait_kind kind, int64_t now_ms);

/* It is worth a report now. */
bool wait_report_has_news(const struct wait_report *report, enum wait_kind kind, int64_t now_ms);

/* Before a report of it: notes since when it is so. */
void wait_report_note(struct wait_report *report, const struct delivery_wait *wait, int64_t now_ms,
                      int64_t now_us);

/* "Klaviyo answered 503 to import; it waits since 2026-11-24T08:00:47Z"; not for NONE. */
void wait_report_text(const struct wait_report *report, const struct delivery_wait *wait,
                      char text[WAIT_REPORT_DETAIL_BYTES]);

#endif
