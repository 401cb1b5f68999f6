#ifndef WORKER_INGEST_INTAKE_WORK_H
#define WORKER_INGEST_INTAKE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/ingest/pending_event.h"
#include "worker/metrics/service_metrics.h"
#include "worker/store/events.h"

/*
 * What intake does with its connection, in turns: events are accepted, many per commit;
 * the ends of those that wait are polled; those whose letter is written are marked. A turn
 * that fails leaves every event in its list and waits a while. What cannot be marked waits
 * alone. Knows no threads.
 *
 * An event whose row is written gives its record away: 500 bytes to a megabyte before,
 * 88 bytes after. Two kinds come out UNREAD, to be read from Kafka again: those whose row
 * the database has lost (a standby that did not have it became the primary), and those
 * that another session's lock holds up, so that they cost nothing while others continue.
 */
enum { INTAKE_BATCH_MAX = 500 /* events per commit: 2 ms each at worst, measured */ };

/* How intake reaches the database; worker/service/wiring.c has the real one. As store/events.h. */
struct intake_ports {
    void *opaque;
    bool (*connect)(void *opaque, struct error *err); /* makes a connection where there is none */
    void (*disconnect)(void *opaque);
    enum events_accepted (*accept)(void *opaque, const struct event_row *in, size_t n,
                                   bool one_by_one, struct event_row_result *out,
                                   struct error *err);
    bool (*ended)(void *opaque, const struct event_key *keys, size_t n, struct event_row_ends *ends,
                  struct error *err);
    bool (*mark)(void *opaque, const struct event_key *keys, size_t n, bool at_once, bool *held,
                 struct error *err);
    bool (*lock_holder)(void *opaque, struct lock_holder *holder, struct error *err);
    int (*socket)(void *opaque);    /* readable: something may have ended; -1: none */
    bool (*notified)(void *opaque); /* reads it; false: the connection is gone */
};

/* Another session's lock was met of late: by events to accept, or by letters to mark. */
struct intake_lock {
    int64_t pause_ms;          /* how long those that it holds up are left alone */
    int64_t expected_until_ms; /* until then it is not waited for again */
    int64_t logged_ms;
};

struct intake_work {
    const struct intake_ports *ports;
    struct service_metrics *metrics;
    struct pending_event_list fresh;         /* to accept */
    struct pending_event_list dead_lettered; /* to mark */
    struct pending_event_list unmarked;      /* to mark later: a lock or a refusal holds them up */
    struct pending_event_list waiting;       /* accepted, and open; without records */
    struct pending_event_list out;           /* have ended; the caller takes them */
    size_t released_events, released_bytes;  /* records given away; the caller takes these too */
    size_t marked_events; /* whose letters are marked; the caller takes this, too */
    size_t batch_max, mark_max;
    bool hurried; /* the worker stops */
    bool connected;
    bool failing;      /* has been logged */
    unsigned attempts; /* in vain, in a row */
    int64_t not_before_ms;
    int64_t accept_after_ms; /* 0, unless the database refused them last time */
    struct intake_lock accept_lock, mark_lock;
    int64_t polled_ms;
    size_t poll_left; /* waiting events not asked for since the last notification */
    bool poll_soon;   /* something may have ended */
};

/* ports and metrics outlive it. Release frees the memory, and the events it holds. */
void intake_work_init(struct intake_work *work, const struct intake_ports *ports,
                      struct service_metrics *metrics);
void intake_work_release(struct intake_work *work); /* frees the events it holds */

/* Takes all events of the list: NEW ones to accept, DEAD_LETTERED ones to mark. */
void intake_work_add(struct intake_work *work, struct pending_event_list *events);

/*
 * Events of that partition that wait or are new come out as DROPPED. What could not be marked
 * is tried again at once, for its next owner's sake.
 */
void intake_work_drop(struct intake_work *work, int32_t partition);

/*
 * The worker stops: from now on no lock is waited for, and what one keeps from being marked is
 * tried again ten times a second.
 */
void intake_work_hurry(struct intake_work *work);

/* One step of each kind; what is left is for the next turn. Waits for the database only. */
void intake_work_turn(struct intake_work *work);

/* How long nothing need be done, if nothing happens; 0: there is work. */
int intake_work_wait_ms(const struct intake_work *work);

/* -1 or readable: call intake_work_notified(). */
int intake_work_socket(const struct intake_work *work);
void intake_work_notified(struct intake_work *work);

#endif
