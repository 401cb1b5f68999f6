#ifndef WORKER_INGEST_DEAD_LETTER_WRITER_H
#define WORKER_INGEST_DEAD_LETTER_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "worker/ingest/pending_event.h"
#include "worker/metrics/service_metrics.h"
#include "worker/settings/settings.h"

/*
 * Dead letters on their way to the broker. A DEAD_LETTER_DUE event goes in; it
 * comes out DEAD_LETTERED once the broker has acknowledged its letter, and is
 * tried again until then. A letter too large for the broker goes without its
 * value, then without the event's own key and headers.
 *
 * It holds a bounded number of records. An event without one has lost it (the
 * record is gone from Kafka): its letter says what is known. An event that has no room here
 * waits outside, without a record, and costs next to nothing: so letters that
 * cannot be written for hours stop no event. Belongs to the control thread.
 */
struct dead_letter_writer;

/*
 * Settings and metrics outlive it. ERROR_FATAL: no client of Kafka can be made
 * with the settings. An unreachable broker is no error.
 */
struct dead_letter_writer *dead_letter_writer_new(const struct settings *settings,
                                                  struct service_metrics *metrics,
                                                  struct error *err) MUST_USE;
void dead_letter_writer_free(struct dead_letter_writer *writer); /* with the events it holds */

/* Readable: dead_letter_writer_turn() has something to do. */
int dead_letter_writer_fd(const struct dead_letter_writer *writer);

/* Events it holds. */
size_t dead_letter_writer_n(const struct dead_letter_writer *writer);

/* False: leave the next one outside. */
bool dead_letter_writer_has_room(const struct dead_letter_writer *writer);

/* Takes a DEAD_LETTER_DUE event. */
void dead_letter_writer_add(struct dead_letter_writer *writer, struct pending_event *event);

/*
 * Never waits, but 0.5 s where a client of Kafka is given up. Adds to `out` what is DEAD_LETTERED
 * and what is DROPPED, both without a record.
 */
void dead_letter_writer_turn(struct dead_letter_writer *writer, struct pending_event_list *out);

/*
 * The partition, with that epoch, was given up in good order: its next owner writes the letters.
 * They come out as DROPPED; those in flight later, unless they are acknowledged. While nothing
 * is acknowledged at all they are called back. Those without a record stay: no other owner
 * meets their events.
 */
void dead_letter_writer_drop(struct dead_letter_writer *writer, int32_t partition, int64_t epoch,
                             struct pending_event_list *dropped);

/* As pending_event_list_adopt(). */
bool dead_letter_writer_adopt(struct dead_letter_writer *writer, const struct pending_event *again)
    MUST_USE;

/* KAFKA_CONFIG_FILE has changed. */
void dead_letter_writer_renew(struct dead_letter_writer *writer);

#endif
