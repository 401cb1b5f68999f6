#ifndef WORKER_SERVICE_INTAKE_H
#define WORKER_SERVICE_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/service/event.h"
#include "worker/service/metrics.h"
#include "worker/store/requests.h"

/*
 * Intake: a thread that owns one database connection and takes events into it.
 *
 * Whole lists of events go in and come out; who holds an event owns it.
 *
 *     intake_submit() --> accepted in one commit a batch --> ended? --> out
 *                                   |
 *                                 waits for its runs --> out
 *
 * A database that is away is waited for, for ever: events stay where they are.
 */
struct intake;

enum open_event_state {
    OPEN_EVENT_NEW,     /* in: to be accepted */
    OPEN_EVENT_DONE,    /* out: release its offset */
    OPEN_EVENT_IGNORED, /* out: no export concerned; release its offset */
    OPEN_EVENT_DEAD,    /* out: write the dead letter, then hand it back as BURIED */
    OPEN_EVENT_BURIED,  /* in: its letter is acknowledged; out again as DONE */
    OPEN_EVENT_DROPPED, /* out: its partition was given up */
};

struct open_event {
    struct open_event *next;
    struct record *record;
    int64_t epoch; /* of its partition's assignment */
    size_t bytes;  /* what it counts for admission */
    bool valid;    /* event is set; else the reason is event_invalid and detail says why */
    struct event event;
    enum open_event_state state;
    int64_t request_id;

    /* Of a DEAD one. */
    char *reason, *detail, *exports;
    int64_t run_id;
    bool letter_too_large; /* goes without its value */
};

struct open_event_list {
    struct open_event *first, *last;
    size_t n;
};

/* Owns record and event from now on, also when NULL comes back (out of memory). */
struct open_event *open_event_new(struct record *record, int64_t epoch) MUST_USE;
void open_event_free(struct open_event *event);
void open_event_push(struct open_event_list *list, struct open_event *event);
struct open_event *open_event_pop(struct open_event_list *list);
void open_event_append(struct open_event_list *list, struct open_event_list *from); /* empties */

/*
 * How intake reaches the database; worker/service/run.c has the real one. The
 * calls mean what those of worker/store/requests.h mean.
 */
struct intake_ports {
    void *world;
    bool (*connect)(void *world, struct error *err); /* makes a connection where there is none */
    void (*disconnect)(void *world);
    bool (*accept)(void *world, const struct request_in *in, size_t n, struct request_out *out,
                   struct error *err);
    bool (*ended)(void *world, const int64_t *ids, size_t n, struct request_end **ends,
                  size_t *n_ends, struct error *err);
    bool (*mark)(void *world, const int64_t *ids, size_t n, struct error *err);
    int (*socket)(void *world);    /* readable: something may have ended; -1: none */
    bool (*notified)(void *world); /* reads it; false: the connection is gone */
};

/* Starts the thread. ports, metrics and what they point to outlive it. */
struct intake *intake_start(const struct intake_ports *ports, struct service_metrics *metrics,
                            struct error *err) MUST_USE;

/* Ends and joins the thread; events it still holds are freed. */
void intake_free(struct intake *intake);

/* Takes all events of the list: NEW ones to accept, BURIED ones to mark. */
void intake_submit(struct intake *intake, struct open_event_list *events);

/*
 * Events of that partition that were submitted and wait come back as DROPPED:
 * its new owner gets them too. BURIED ones are marked all the same.
 */
void intake_drop(struct intake *intake, int32_t partition);

/* Readable once events have come out. */
int intake_fd(const struct intake *intake);
void intake_collect(struct intake *intake, struct open_event_list *out);

DEFINE_OWNER(intake)

#endif
