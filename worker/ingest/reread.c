#include "worker/ingest/reread.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/kafka/record_lookup.h"

enum { NO_CLIENT_MS = 5000 /* between attempts to make one */ };

struct reread {
    const struct settings *settings;
    struct record_lookup *lookup; /* NULL: not needed yet */
    int64_t client_after_ms;
    struct pending_event_list unread, letters;
    struct pending_event *wanted; /* whose record is being looked for */
};

struct reread *reread_new(const struct settings *settings)
{
    struct reread *reread = calloc(1, sizeof *reread);

    if (reread)
        reread->settings = settings;
    return reread;
}

void reread_free(struct reread *reread)
{
    if (!reread)
        return;
    record_lookup_free(reread->lookup);
    pending_event_free(reread->wanted);
    pending_event_list_clear(&reread->unread);
    pending_event_list_clear(&reread->letters);
    free(reread);
}

int reread_fd(const struct reread *reread)
{
    return reread->lookup ? record_lookup_fd(reread->lookup) : -1;
}

static bool is_letter(const struct pending_event *event)
{
    return event->state == PENDING_EVENT_DEAD_LETTER_DUE;
}

size_t reread_letters(const struct reread *reread)
{
    return reread->letters.n + (reread->wanted && is_letter(reread->wanted) ? 1 : 0);
}

void reread_add(struct reread *reread, struct pending_event *event)
{
    assert(!event->body && (is_letter(event) || event->state == PENDING_EVENT_UNREAD));
    pending_event_push(is_letter(event) ? &reread->letters : &reread->unread, event);
}

void reread_drop(struct reread *reread, int32_t partition, struct pending_event_list *dropped)
{
    struct pending_event *wanted = reread->wanted;

    pending_event_list_drop(&reread->unread, partition, dropped);
    pending_event_list_drop(&reread->letters, partition, dropped);
    if (!wanted || wanted->partition != partition)
        return;
    wanted->state = PENDING_EVENT_DROPPED;
    pending_event_push(dropped, wanted);
    reread->wanted = NULL;
    record_lookup_rest(reread->lookup);
}

static bool has_client(struct reread *reread)
{
    struct error err = ERROR_INIT;

    if (reread->lookup)
        return true;
    if (clock_ms() < reread->client_after_ms)
        return false;
    reread->lookup = record_lookup_new(reread->settings, &err);
    if (reread->lookup)
        return true;
    reread->client_after_ms = clock_ms() + NO_CLIENT_MS;
    log_warn("record_not_reread", LOG_ERROR_OF(&err));
    return false;
}

/* The next event to look for; NULL: none is due and has room. */
static struct pending_event *choose(struct reread *reread, struct reread_room room)
{
    if (room.letters && reread->letters.first)
        return pending_event_pop(&reread->letters);
    if (room.unread && reread->unread.first && reread->unread.first->not_before_ms <= clock_ms())
        return pending_event_pop(&reread->unread);
    return NULL;
}

static bool begin(struct reread *reread, struct reread_room room)
{
    if (reread->wanted)
        return true;
    if ((reread->letters.first || reread->unread.first) && has_client(reread))
        reread->wanted = choose(reread, room);
    if (!reread->wanted) {
        if (reread->lookup)
            record_lookup_rest(reread->lookup);
        return false;
    }
    record_lookup_want(reread->lookup, reread->wanted->partition, reread->wanted->offset);
    return true;
}

/* Another timestamp: the topic was created again, and this is another record. */
static bool is_its_record(const struct pending_event *event, const struct record *record)
{
    return record->partition == event->partition && record->offset == event->offset &&
           record->timestamp_ms == event->timestamp_ms;
}

/* False: out of memory, nothing changed. */
static bool give_record(struct pending_event *event, const struct record *record)
{
    struct error ignored = ERROR_INIT; /* the record has been judged before */

    if (!is_its_record(event, record))
        return true;
    if (pending_event_read(event, record, &ignored) == EVENT_NO_MEMORY)
        return false;
    if (event->state == PENDING_EVENT_UNREAD)
        event->state = PENDING_EVENT_NEW;
    return true;
}

struct pending_event *reread_next(struct reread *reread, struct reread_room room)
{
    struct pending_event *event;
    const struct record *record = NULL;

    if (!begin(reread, room)) {
        if (reread->lookup)
            (void)!record_lookup_poll(reread->lookup, clock_ms(), &record); /* nothing is wanted */
        return NULL;
    }
    event = reread->wanted;
    switch (record_lookup_poll(reread->lookup, clock_ms(), &record)) {
    case RECORD_LOOKUP_PENDING:
        return NULL;
    case RECORD_LOOKUP_FOUND:
        if (!give_record(event, record)) {
            record_lookup_want(reread->lookup, event->partition, event->offset);
            return NULL;
        }
        break;
    case RECORD_LOOKUP_GONE:
        break;
    }
    reread->wanted = NULL;
    return event;
}

void reread_renew(struct reread *reread)
{
    struct pending_event *wanted = reread->wanted;

    reread->wanted = NULL;
    if (wanted)
        reread_add(reread, wanted);
    record_lookup_retire(reread->lookup);
    reread->lookup = NULL;
}
