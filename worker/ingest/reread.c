#include "worker/ingest/reread.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "worker/kafka/record_lookup.h"

enum {
    NO_CLIENT_MS = 5000, /* between attempts to make one */
    TURN_MS = 35 * 1000, /* in vain; the lookup knows after 30 s what is gone for good */
    LOG_AGAIN_MS = 60 * 1000,
    IN_A_ROW = 100, /* chosen: events of one partition while others wait */
};

/* The events of one partition, in the order in which they came. */
struct shelf {
    TAILQ_ENTRY(shelf) entry;
    int32_t partition;
    struct pending_event_list letters, unread;
    unsigned in_a_row; /* so many were taken of it */
};

TAILQ_HEAD(shelves, shelf);

struct reread {
    const struct settings *settings;
    struct record_lookup *lookup; /* NULL: not needed yet */
    int64_t client_after_ms;
    struct shelves moving, stuck; /* stuck: they brought nothing in their turn */
    struct pending_event *wanted; /* whose record is being looked for; on no shelf */
    int64_t wanted_ms;            /* since when */
    bool has_kept;                /* there may be letters of an epoch before */
    int64_t stuck_after_ms;       /* when a stuck one goes before those that move */
    int64_t logged_ms;            /* 0: never */
};

struct reread *reread_new(const struct settings *settings)
{
    struct reread *reread = calloc(1, sizeof *reread);

    if (!reread)
        return NULL;
    reread->settings = settings;
    TAILQ_INIT(&reread->moving);
    TAILQ_INIT(&reread->stuck);
    return reread;
}

/* ---- shelves ---- */

static void remove_shelf(struct shelves *shelves, struct shelf *shelf)
{
    TAILQ_REMOVE(shelves, shelf, entry);
    pending_event_list_clear(&shelf->letters);
    pending_event_list_clear(&shelf->unread);
    free(shelf);
}

static void remove_all(struct shelves *shelves)
{
    while (!TAILQ_EMPTY(shelves))
        remove_shelf(shelves, TAILQ_FIRST(shelves));
}

static struct shelf *find_shelf(const struct shelves *shelves, int32_t partition)
{
    struct shelf *shelf;

    TAILQ_FOREACH(shelf, shelves, entry)
        if (shelf->partition == partition)
            return shelf;
    return NULL;
}

static struct shelf *add_shelf(struct shelves *shelves, int32_t partition)
{
    struct shelf *shelf = memory_needed(calloc(1, sizeof *shelf));

    shelf->partition = partition;
    TAILQ_INSERT_TAIL(shelves, shelf, entry);
    return shelf;
}

/* To the end of the other ones, if it is among these. */
static void move_shelf(struct shelves *from, struct shelves *to, int32_t partition)
{
    struct shelf *shelf = find_shelf(from, partition);

    if (!shelf)
        return;
    TAILQ_REMOVE(from, shelf, entry);
    TAILQ_INSERT_TAIL(to, shelf, entry);
}

static void move_all(struct shelves *from, struct shelves *to)
{
    while (!TAILQ_EMPTY(from))
        move_shelf(from, to, TAILQ_FIRST(from)->partition);
}

void reread_free(struct reread *reread)
{
    if (!reread)
        return;
    record_lookup_free(reread->lookup);
    pending_event_free(reread->wanted);
    remove_all(&reread->moving);
    remove_all(&reread->stuck);
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

static size_t count_letters(const struct shelves *shelves)
{
    const struct shelf *shelf;
    size_t n = 0;

    TAILQ_FOREACH(shelf, shelves, entry)
        n += shelf->letters.n;
    return n;
}

size_t reread_letters(const struct reread *reread)
{
    return count_letters(&reread->moving) + count_letters(&reread->stuck) +
           (reread->wanted && is_letter(reread->wanted) ? 1 : 0);
}

void reread_add(struct reread *reread, struct pending_event *event)
{
    struct shelf *shelf = find_shelf(&reread->stuck, event->partition);

    assert(!event->body && (is_letter(event) || event->state == PENDING_EVENT_UNREAD));
    if (!shelf)
        shelf = find_shelf(&reread->moving, event->partition);
    if (!shelf)
        shelf = add_shelf(&reread->moving, event->partition);
    pending_event_push(is_letter(event) ? &shelf->letters : &shelf->unread, event);
}

static void remove_if_empty(struct shelves *shelves, struct shelf *shelf)
{
    if (!shelf->letters.first && !shelf->unread.first)
        remove_shelf(shelves, shelf);
}

static void drop_unread(struct shelves *shelves, int32_t partition,
                        struct pending_event_list *dropped)
{
    struct shelf *shelf = find_shelf(shelves, partition);

    if (!shelf)
        return;
    pending_event_list_drop(&shelf->unread, partition, dropped);
    remove_if_empty(shelves, shelf);
}

static void drop_letters(struct shelves *shelves, int32_t partition, int64_t epoch,
                         struct pending_event_list *dropped)
{
    struct shelf *shelf = find_shelf(shelves, partition);

    if (!shelf)
        return;
    pending_event_list_drop_epoch(&shelf->letters, partition, epoch, dropped);
    remove_if_empty(shelves, shelf);
}

static void drop_wanted(struct reread *reread, struct pending_event_list *dropped)
{
    reread->wanted->state = PENDING_EVENT_DROPPED;
    pending_event_push(dropped, reread->wanted);
    reread->wanted = NULL;
    record_lookup_rest(reread->lookup);
}

static bool has_letters(const struct reread *reread, int32_t partition)
{
    const struct pending_event *wanted = reread->wanted;
    const struct shelf *moving = find_shelf(&reread->moving, partition);
    const struct shelf *stuck = find_shelf(&reread->stuck, partition);

    return (moving && moving->letters.first) || (stuck && stuck->letters.first) ||
           (wanted && wanted->partition == partition && is_letter(wanted));
}

void reread_drop(struct reread *reread, int32_t partition, struct pending_event_list *dropped)
{
    const struct pending_event *wanted = reread->wanted;

    if (has_letters(reread, partition))
        reread->has_kept = true;
    drop_unread(&reread->moving, partition, dropped);
    drop_unread(&reread->stuck, partition, dropped);
    if (wanted && wanted->partition == partition && !is_letter(wanted))
        drop_wanted(reread, dropped);
}

void reread_drop_letters(struct reread *reread, int32_t partition, int64_t epoch,
                         struct pending_event_list *dropped)
{
    const struct pending_event *wanted = reread->wanted;

    drop_letters(&reread->moving, partition, epoch, dropped);
    drop_letters(&reread->stuck, partition, epoch, dropped);
    if (wanted && wanted->partition == partition && wanted->epoch == epoch && is_letter(wanted))
        drop_wanted(reread, dropped);
}

static bool adopt_of_shelf(const struct shelves *shelves, const struct pending_event *again)
{
    struct shelf *shelf = find_shelf(shelves, again->partition);

    return shelf && pending_event_list_adopt(&shelf->letters, again);
}

/* Most of the time nothing was kept, and as many letters as may be open are not looked through. */
bool reread_adopt(struct reread *reread, const struct pending_event *again)
{
    reread->has_kept = reread->has_kept && reread_letters(reread) > 0;
    if (!reread->has_kept)
        return false;
    if (reread->wanted && is_letter(reread->wanted) && pending_event_adopt(reread->wanted, again))
        return true;
    return adopt_of_shelf(&reread->moving, again) || adopt_of_shelf(&reread->stuck, again);
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

/* ---- which one is next ---- */

static struct pending_event *take_letter(struct shelf *shelf)
{
    return pending_event_pop(&shelf->letters);
}

static struct pending_event *take_unread(struct shelf *shelf)
{
    const struct pending_event *first = shelf->unread.first;

    return first && first->not_before_ms <= clock_ms() ? pending_event_pop(&shelf->unread) : NULL;
}

/* A shelf that is empty is removed; another one's turn comes after some events. */
static void tidy_shelf(struct shelves *shelves, struct shelf *shelf)
{
    if (!shelf->letters.first && !shelf->unread.first) {
        remove_shelf(shelves, shelf);
    } else if (++shelf->in_a_row == IN_A_ROW) {
        shelf->in_a_row = 0;
        move_shelf(shelves, shelves, shelf->partition);
    }
}

/* Of the first shelf that has one: the next record of a partition is the cheapest to read. */
static struct pending_event *take_first(struct shelves *shelves,
                                        struct pending_event *(*take)(struct shelf *shelf))
{
    struct pending_event *event = NULL;
    struct shelf *shelf = TAILQ_FIRST(shelves);

    while (shelf && !(event = take(shelf)))
        shelf = TAILQ_NEXT(shelf, entry);
    if (shelf)
        tidy_shelf(shelves, shelf);
    return event;
}

static struct pending_event *take_event(struct shelves *shelves, struct reread_room room)
{
    struct pending_event *event = room.letters ? take_first(shelves, take_letter) : NULL;

    return event || !room.unread ? event : take_first(shelves, take_unread);
}

/* The next event to look for; NULL: none is due and has room. */
static struct pending_event *choose(struct reread *reread, struct reread_room room)
{
    bool stuck_first = clock_ms() >= reread->stuck_after_ms;
    struct shelves *first = stuck_first ? &reread->stuck : &reread->moving;
    struct shelves *second = stuck_first ? &reread->moving : &reread->stuck;
    struct pending_event *event = take_event(first, room);

    return event ? event : take_event(second, room);
}

static bool is_empty(const struct reread *reread)
{
    return TAILQ_EMPTY(&reread->moving) && TAILQ_EMPTY(&reread->stuck);
}

static bool begin(struct reread *reread, struct reread_room room)
{
    if (reread->wanted)
        return true;
    if (!is_empty(reread) && has_client(reread))
        reread->wanted = choose(reread, room);
    if (!reread->wanted) {
        if (reread->lookup)
            record_lookup_rest(reread->lookup);
        return false;
    }
    reread->wanted_ms = clock_ms();
    record_lookup_want(reread->lookup, reread->wanted->partition, reread->wanted->offset);
    return true;
}

static void log_stuck(struct reread *reread, const struct pending_event *event)
{
    if (reread->logged_ms > 0 && clock_ms() - reread->logged_ms < LOG_AGAIN_MS)
        return;
    reread->logged_ms = clock_ms();
    log_warn("record_not_reread", LOG_INT("partition", event->partition),
             LOG_INT("offset", event->offset),
             LOG_STR("error", "nothing comes from its partition: has it a leader?"));
}

/* Nothing came in its turn: all of its partition wait, so that others need not. */
static void set_aside(struct reread *reread)
{
    struct pending_event *event = reread->wanted;

    log_stuck(reread, event);
    reread->wanted = NULL;
    reread_add(reread, event);
    move_shelf(&reread->moving, &reread->stuck, event->partition);
    /* Of several that are stuck each has its turn. */
    move_shelf(&reread->stuck, &reread->stuck, event->partition);
    reread->stuck_after_ms = clock_ms() + TURN_MS;
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
        if (clock_ms() - reread->wanted_ms >= TURN_MS)
            set_aside(reread);
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
    move_shelf(&reread->stuck, &reread->moving, event->partition);
    return event;
}

void reread_renew(struct reread *reread)
{
    struct pending_event *wanted = reread->wanted;

    reread->wanted = NULL;
    move_all(&reread->stuck, &reread->moving);
    if (wanted)
        reread_add(reread, wanted);
    record_lookup_retire(reread->lookup);
    reread->lookup = NULL;
}
