#include "worker/service/systemd.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"

enum { EXTEND_EVERY_MS = 10 * 1000 /* a sixth of what is asked for each time */ };

#ifdef WITH_SYSTEMD
#include <systemd/sd-daemon.h>

static void tell(const char *text)
{
    (void)sd_notify(0, text);
}

/* How long systemd waits for a sign of life; 0: it does not. */
static uint64_t watchdog_us(void)
{
    uint64_t us = 0;

    return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}

#else

static void tell(const char *text)
{
    (void)text;
}

static uint64_t watchdog_us(void)
{
    return 0;
}

#endif

struct systemd_notify systemd_notify_init(void)
{
    return (struct systemd_notify){ .every_ms = (int64_t)(watchdog_us() / 2000),
                                    .notified_ms = clock_ms() };
}

void systemd_notify_starting(struct systemd_notify *systemd_notify, int64_t now_ms)
{
    if (systemd_notify->extended_ms > 0 && now_ms - systemd_notify->extended_ms < EXTEND_EVERY_MS)
        return;
    systemd_notify->extended_ms = now_ms;
    tell("STATUS=Waiting for the database and the consumer group.\nEXTEND_TIMEOUT_USEC=60000000");
}

void systemd_notify_ready(void)
{
    tell("READY=1\nSTATUS=Taking events.");
}

void systemd_notify_alive(struct systemd_notify *systemd_notify, int64_t now_ms)
{
    if (systemd_notify->every_ms == 0 ||
        now_ms - systemd_notify->notified_ms < systemd_notify->every_ms)
        return;
    systemd_notify->notified_ms = now_ms;
    tell("WATCHDOG=1");
}

void systemd_notify_stopping(int64_t within_ms)
{
    char text[128];

    (void)snprintf(text, sizeof text,
                   "STOPPING=1\nSTATUS=Letting runs come to rest.\nEXTEND_TIMEOUT_USEC=%" PRId64,
                   within_ms * 1000);
    tell(text);
}
