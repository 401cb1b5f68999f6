#include "worker/kafka/producer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/broker.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"

/*
 * kafka/producer.h: each record is written, or not, and the report comes a while later; now
 * and then it says that it was not written though it was.
 */
enum { UNDER_WAY_MAX = 256, USUAL_MS = 30 };

struct under_way {
    void *tag;
    int64_t report_ms;
    bool failed;
};

struct producer {
    struct process *process;
    int fd;
    struct under_way under_way[UNDER_WAY_MAX];
    int n;
};

static int lost_permille;

void producers_begin(int permille)
{
    lost_permille = permille;
}

struct producer *producer_new(const struct settings *settings UNUSED, struct error *err UNUSED)
{
    struct producer *producer = calloc(1, sizeof *producer);

    assert(producer);
    producer->process = fiber_process();
    producer->fd = descriptor_new();
    return producer;
}

void producer_free(struct producer *producer)
{
    free(producer);
}

void producer_renew(struct producer *producer)
{
    for (int i = 0; i < producer->n; i++)
        producer->under_way[i].report_ms = fiber_now_ms();
}

int producer_fd(const struct producer *producer)
{
    return producer->fd;
}

/* One that is not answered in time is told as failed. */
bool producer_produce(struct producer *producer, const char *topic, const struct record *record,
                      void *tag, struct error *err)
{
    if (producer->process->dead || producer->n == UNDER_WAY_MAX)
        return error_set(err, ERROR_RETRY, "the queue is full");
    struct under_way *u = &producer->under_way[producer->n++];

    *u = (struct under_way){ .tag = tag,
                             .report_ms = fiber_now_ms() + dice_delay_ms(USUAL_MS),
                             .failed = dice_chance(lost_permille) };
    if (broker_answers() && (!u->failed || dice(2) == 0))
        broker_write(topic, record);
    else
        u->failed = true;
    return true;
}

/* The descriptor says nothing of reports to come: whoever asks again finds them. */
bool producer_next(struct producer *producer, struct producer_report *report)
{
    for (int i = 0; i < producer->n; i++) {
        struct under_way u = producer->under_way[i];

        if (u.report_ms > fiber_now_ms())
            continue;
        producer->under_way[i] = producer->under_way[--producer->n];
        *report = (struct producer_report){
            .tag = u.tag, .outcome = u.failed ? PRODUCER_FAILED : PRODUCER_DELIVERED, .passes = true
        };
        (void)snprintf(report->text, sizeof report->text, "the broker did not answer");
        return true;
    }
    return false;
}
