#include "worker/export/wait_report.h"

#include <stdio.h>

#include "common/clock.h"

enum {
    LOG_EVERY_MS = 60 * 1000, /* contract */
    STEADY_MS = 2500,         /* chosen: a parked run may wait this much longer unreported */
};

void wait_report_resume(struct wait_report *report, enum wait_kind kind, int64_t since_us,
                        int64_t logged_ago_ms, int64_t now_ms)
{
    *report = (struct wait_report){ .kind = kind,
                                    .since_us = since_us,
                                    .logged_ms = now_ms - logged_ago_ms,
                                    .steady_from_ms = now_ms + STEADY_MS };
}

bool wait_report_is_due(const struct wait_report *report, enum wait_kind kind, int64_t now_ms)
{
    return kind != report->kind ||
           (kind != WAIT_NONE && now_ms - report->logged_ms >= LOG_EVERY_MS);
}

bool wait_report_has_news(const struct wait_report *report, enum wait_kind kind, int64_t now_ms)
{
    return now_ms >= report->steady_from_ms && wait_report_is_due(report, kind, now_ms);
}

void wait_report_note(struct wait_report *report, const struct delivery_wait *wait, int64_t now_ms,
                      int64_t now_us)
{
    if (wait->kind != WAIT_NONE && wait->kind != report->kind)
        report->since_us = now_us - (now_ms - wait->since_ms) * 1000;
}

void wait_report_text(const struct wait_report *report, const struct delivery_wait *wait,
                      char text[WAIT_REPORT_DETAIL_BYTES])
{
    char since[CLOCK_TEXT_BYTES];

    clock_format_us(report->since_us, since);
    (void)snprintf(text, WAIT_REPORT_DETAIL_BYTES, "%s; it waits since %.19sZ", wait->why, since);
}
