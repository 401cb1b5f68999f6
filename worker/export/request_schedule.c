#include "worker/export/request_schedule.h"

#include <stdio.h>

#include "common/retry.h"

enum {
    KEY_RETRY_MS = 10 * 1000,  /* between a refused key and the second try: contract */
    KEY_MEMORY_MS = 60 * 1000, /* chosen: the second try is made as soon as limits allow */
};

bool request_schedule_may_start(const struct request_schedule *schedule,
                                const struct pending_request *pending, int64_t now_ms)
{
    if (schedule->draining)
        return false;
    if (endpoint_is_write(pending->endpoint) && now_ms >= schedule->imports_until_ms)
        return false;
    return now_ms >= request_schedule_due_ms(schedule, pending);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t request_schedule_due_ms(const struct request_schedule *schedule,
                                const struct pending_request *pending)
{
    if (pending->in_flight)
        return REQUEST_SCHEDULE_NEVER;
    return later(pending->due_ms,
                 later(schedule->not_before_ms[pending->endpoint], schedule->key_not_before_ms));
}

void request_schedule_started(struct request_schedule *schedule, struct pending_request *pending,
                              int64_t now_ms)
{
    pending->in_flight = true;
    pending->started_ms = now_ms;
    schedule->n_in_flight++;
}

void request_schedule_ended(struct request_schedule *schedule, struct pending_request *pending)
{
    pending->in_flight = false;
    schedule->unread[0] = '\0';
    schedule->n_in_flight--;
}

void request_schedule_again(struct request_schedule *schedule, struct pending_request *pending,
                            int64_t now_ms, int64_t wait_ms)
{
    if (pending->attempts < schedule->attempts)
        pending->attempts = schedule->attempts;
    pending->attempts++;
    pending->due_ms =
        now_ms + retry_wait_ms(RETRY_POLICY, pending->attempts, schedule->random(), wait_ms);
    schedule->retries++;
}

void request_schedule_unread(struct request_schedule *schedule, struct pending_request *pending,
                             int64_t now_ms, const struct error *why)
{
    (void)snprintf(schedule->unread, sizeof schedule->unread, "%.*s",
                   REQUEST_SCHEDULE_WHY_BYTES - 1, why->text);
    request_schedule_again(schedule, pending, now_ms, 0);
}

void request_schedule_close(struct request_schedule *schedule, enum endpoint endpoint,
                            int64_t until_ms)
{
    schedule->not_before_ms[endpoint] = later(schedule->not_before_ms[endpoint], until_ms);
}

static bool is_remembered(int64_t refused_ms, int64_t now_ms)
{
    return refused_ms > 0 && now_ms - refused_ms < KEY_MEMORY_MS;
}

/* It was on its way before the refusal came, so it says nothing of the key after it. */
static bool is_older(const struct request_schedule *schedule, const struct pending_request *pending)
{
    return pending->started_ms < schedule->key_not_before_ms;
}

bool request_schedule_key_refused(struct request_schedule *schedule,
                                  struct pending_request *pending, int64_t now_ms)
{
    int64_t *here_ms = &schedule->key_refused_ms[pending->endpoint];

    pending->due_ms = 0;
    if (is_older(schedule, pending))
        return false;
    if (is_remembered(*here_ms, now_ms) || is_remembered(schedule->key_doubted_ms, now_ms))
        return true;
    *here_ms = schedule->key_doubted_ms = now_ms;
    schedule->key_not_before_ms = now_ms + KEY_RETRY_MS;
    schedule->retries++;
    return false;
}

void request_schedule_key_accepted(struct request_schedule *schedule,
                                   const struct pending_request *pending)
{
    if (is_older(schedule, pending))
        return;
    schedule->key_refused_ms[pending->endpoint] = schedule->key_doubted_ms = 0;
}

int64_t request_schedule_waiting_ms(const struct request_schedule *schedule, unsigned needed,
                                    int64_t now_ms)
{
    int64_t longest = 0;

    if (schedule->n_in_flight > 0)
        return 0;
    for (size_t i = 0; i < ENDPOINT_COUNT; i++)
        if (needed & ENDPOINT_BIT(i))
            longest = later(longest, schedule->not_before_ms[i] - now_ms);
    return longest > REQUEST_SCHEDULE_WAITING_MIN_MS ? longest : 0;
}
