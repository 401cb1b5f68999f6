#ifndef WORKER_INGEST_REREAD_H
#define WORKER_INGEST_REREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/ingest/pending_event.h"
#include "worker/settings/settings.h"

/*
 * Events that need their record again, read from Kafka one after the other:
 * UNREAD ones, to be accepted again, and those whose dead letter is to be written.
 * They wait here without a record until their taker has room.
 *
 * A partition that brings nothing (it has no leader, say) is set aside after half a
 * minute: its events wait, those of others do not. It gets another turn of that length
 * when nothing else is to be read, or when others had theirs; the log says that it waits.
 *
 * The client that reads is made when it is first needed. Belongs to the control
 * thread.
 */
struct reread;

/* Settings outlive it. Connects when the first event comes. NULL: out of memory. */
struct reread *reread_new(const struct settings *settings) MUST_USE;
void reread_free(struct reread *reread); /* with the events it holds */

int reread_fd(const struct reread *reread); /* -1 or readable: reread_next() has something to do */
size_t reread_letters(const struct reread *reread); /* DEAD_LETTER_DUE ones */

/* Takes an UNREAD or DEAD_LETTER_DUE event that has no record. */
void reread_add(struct reread *reread, struct pending_event *event);

/* UNREAD events of that partition come out as DROPPED; letters stay, for reread_adopt(). */
void reread_drop(struct reread *reread, int32_t partition, struct pending_event_list *dropped);

/* Letters of that partition's epoch come out as DROPPED. */
void reread_drop_letters(struct reread *reread, int32_t partition, int64_t epoch,
                         struct pending_event_list *dropped);

/* As pending_event_list_adopt(), of the letters. */
bool reread_adopt(struct reread *reread, const struct pending_event *again) MUST_USE;

struct reread_room {
    bool unread, letters; /* one more of that kind may come out */
};

/*
 * One event that has been read, or NULL: none yet. Without a record: it is gone
 * from Kafka. An UNREAD one with a record is NEW. Never waits.
 */
struct pending_event *reread_next(struct reread *reread, struct reread_room room) MUST_USE;

/* KAFKA_CONFIG_FILE has changed. */
void reread_renew(struct reread *reread);

#endif
