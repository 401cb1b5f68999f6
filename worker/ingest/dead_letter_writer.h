#ifndef WORKER_INGEST_DEAD_LETTER_WRITER_H
#define WORKER_INGEST_DEAD_LETTER_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/ingest/intake.h"
#include "worker/metrics/service_metrics.h"
#include "worker/settings/settings.h"

/*
 * Dead writer on their way to the broker. A DEAD event goes in; it comes out
 * BURIED once the broker has acknowledged its letter, and is tried again until
 * then. A letter too large for the broker goes again without its value.
 * Belongs to the control thread.
 */
struct dead_letter_writer;

struct dead_letter_writer *dead_letter_writer_new(const struct settings *settings,
                                                  struct service_metrics *metrics,
                                                  struct error *err) MUST_USE;
void dead_letter_writer_free(struct dead_letter_writer *writer); /* with the events it holds */

int dead_letter_writer_fd(const struct dead_letter_writer *
                              writer); /* readable: dead_letter_writer_turn() has something to do */
size_t dead_letter_writer_n(const struct dead_letter_writer *writer);

void dead_letter_writer_add(struct dead_letter_writer *writer, struct pending_event *event);

/* Never waits. Adds what is acknowledged to dead_lettered. */
void dead_letter_writer_turn(struct dead_letter_writer *writer,
                             struct pending_event_list *dead_lettered);

DEFINE_OWNER(dead_letter_writer)

#endif
