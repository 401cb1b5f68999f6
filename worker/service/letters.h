#ifndef WORKER_SERVICE_LETTERS_H
#define WORKER_SERVICE_LETTERS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/settings.h"
#include "worker/service/intake.h"
#include "worker/service/metrics.h"

/*
 * Dead letters on their way to the broker. A DEAD event goes in; it comes out
 * BURIED once the broker has acknowledged its letter, and is tried again until
 * then. A letter too large for the broker goes again without its value.
 * Belongs to the control thread.
 */
struct letters;

struct letters *letters_new(const struct settings *settings, struct service_metrics *metrics,
                            struct error *err) MUST_USE;
void letters_free(struct letters *letters); /* with the events it holds */

int letters_fd(const struct letters *letters); /* readable: letters_turn() has something to do */
size_t letters_n(const struct letters *letters);

void letters_add(struct letters *letters, struct open_event *event);

/* Never waits. Adds what is acknowledged to buried. */
void letters_turn(struct letters *letters, struct open_event_list *buried);

DEFINE_OWNER(letters)

#endif
