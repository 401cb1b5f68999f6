#include "worker/kafka/consumer.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/wakeup.h"
#include "worker/kafka/client_log.h"
#include "worker/kafka/client_text.h"
#include "worker/kafka/commits.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"
#include "worker/kafka/message.h"

/*
 * librdkafka's event queue would tell of a partition's end without its offset,
 * so messages are polled, and callbacks note what else there is. They run
 * inside the poll, on our thread, and note only: order is kept, since a poll
 * serves callbacks before the message that it returns.
 */
struct note {
    STAILQ_ENTRY(note) entry;
    enum consumer_event_kind kind;
    rd_kafka_topic_partition_list_t *partitions; /* NULL where there are none */
    rd_kafka_resp_err_t code;
    bool of_commit;
    char text[512];
};

/* The first release that can destroy a member which has joined and has no assignment yet. */
enum { DESTROY_FIXED_VERSION = 0x020300ff };

/* Told on a thread of librdkafka's. */
struct reset {
    SLIST_ENTRY(reset) entry;
    struct client_reset told;
};

struct consumer {
    rd_kafka_t *handle;
    bool subscribed;
    bool assigned;             /* at least once */
    int64_t member_ms;         /* see consumer_member_ms() */
    rd_kafka_queue_t *queue;   /* the consumer's own */
    rd_kafka_queue_t *closing; /* what is left to say once close has begun; NULL before */
    int fd;
    char *topic;
    STAILQ_HEAD(, note) notes;
    pthread_mutex_t lock; /* of resets */
    SLIST_HEAD(, reset) resets;
    rd_kafka_message_t *held; /* came with notes that go before it */
    struct commits *commits;
    struct message_headers headers;
    bool lent;
    struct consumer *left_before; /* in the list of those left behind */
};

static struct note *add_note(struct consumer *consumer, enum consumer_event_kind kind)
{
    struct note *note = memory_needed(calloc(1, sizeof *note));

    note->kind = kind;
    STAILQ_INSERT_TAIL(&consumer->notes, note, entry);
    return note;
}

static void free_note(struct note *note)
{
    if (note->partitions)
        rd_kafka_topic_partition_list_destroy(note->partitions);
    free(note);
}

static struct note *note_error(struct consumer *consumer, rd_kafka_resp_err_t code,
                               const char *text)
{
    struct note *note = add_note(consumer, CONSUMER_ERROR);

    note->code = code;
    (void)snprintf(note->text, sizeof note->text, "%s", text);
    return note;
}

static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct consumer *consumer = opaque;

    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        consumer->assigned = true;
        consumer->member_ms = clock_ms();
        add_note(consumer, CONSUMER_ASSIGNED)->partitions =
            rd_kafka_topic_partition_list_copy(partitions);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        add_note(consumer, rd_kafka_assignment_lost(handle) ? CONSUMER_LOST : CONSUMER_REVOKED)
            ->partitions = rd_kafka_topic_partition_list_copy(partitions);
    else {
        (void)note_error(consumer, code, rd_kafka_err2str(code));
        (void)rd_kafka_assign(handle, NULL); /* as librdkafka asks, to start over */
    }
}

typedef void (*commit_answer)(struct commits *commits, int32_t partition, int64_t offset, bool ok,
                              int64_t now_ms);

static void note_commit(struct consumer *consumer, rd_kafka_resp_err_t code,
                        const rd_kafka_topic_partition_list_t *partitions, commit_answer answer)
{
    if (code)
        note_error(consumer, code, "offsets were not committed")->of_commit = true;
    if (!partitions)
        return;
    for (int i = 0; i < partitions->cnt; i++)
        answer(consumer->commits, partitions->elems[i].partition, partitions->elems[i].offset,
               !code && !partitions->elems[i].err, clock_ms());
    if (!code)
        add_note(consumer, CONSUMER_COMMITTED)->partitions =
            rd_kafka_topic_partition_list_copy(partitions);
}

/* By librdkafka's timer, or when it unassigned. */
static void on_committed(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    (void)handle;
    if (code != RD_KAFKA_RESP_ERR__NO_OFFSET) /* there was nothing to commit */
        note_commit(opaque, code, partitions, commits_stored);
}

static void on_begun(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                     rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    (void)handle;
    note_commit(opaque, code, partitions, commits_begun);
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    char fatal[512];

    if (code != RD_KAFKA_RESP_ERR__FATAL) {
        (void)note_error(opaque, code, reason);
        return;
    }
    (void)rd_kafka_fatal_error(handle, fatal, sizeof fatal);
    (void)note_error(opaque, RD_KAFKA_RESP_ERR__FATAL, fatal);
}

static int on_statistics(rd_kafka_t *handle, char *json, size_t n, void *opaque)
{
    struct consumer *consumer = opaque;

    (void)handle;
    (void)n;
    if (client_text_is_steady(json))
        consumer->member_ms = clock_ms();
    return 0; /* librdkafka frees it */
}

static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    struct consumer *consumer = handle ? rd_kafka_opaque(handle) : NULL;
    struct client_reset told;

    client_log_write(handle, level, facility, text);
    if (!consumer || !client_text_reset(text, &told))
        return;
    struct reset *reset = calloc(1, sizeof *reset);
    if (!reset)
        return;
    reset->told = told;
    (void)pthread_mutex_lock(&consumer->lock);
    SLIST_INSERT_HEAD(&consumer->resets, reset, entry);
    (void)pthread_mutex_unlock(&consumer->lock);
}

static bool next_reset(struct consumer *consumer, struct consumer_event *event)
{
    (void)pthread_mutex_lock(&consumer->lock);
    struct reset *reset = SLIST_FIRST(&consumer->resets);
    if (reset)
        SLIST_REMOVE_HEAD(&consumer->resets, entry);
    (void)pthread_mutex_unlock(&consumer->lock);
    if (!reset)
        return false;
    event->kind = CONSUMER_RESET;
    event->partition = reset->told.partition;
    event->offset = reset->told.offset;
    free(reset);
    return true;
}

static bool subscribe(struct consumer *consumer, struct error *err)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);

    (void)rd_kafka_topic_partition_list_add(topics, consumer->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->handle, topics);
    consumer->subscribed = true;
    return code ? kafka_failure(err, consumer->handle, code, "subscribing to KAFKA_TOPIC") : true;
}

static bool open_handle(struct consumer *consumer, const struct settings *settings,
                        struct error *err)
{
    const struct kafka_handle_callbacks callbacks = {
        .opaque = consumer,
        .rebalance = on_rebalance,
        .committed = on_committed,
        .error = on_error,
        .log = on_log,
        .statistics = on_statistics,
    };

    consumer->topic = strdup(settings->kafka_topic);
    consumer->commits = commits_new();
    if (!consumer->topic || !consumer->commits)
        return error_no_memory(err);
    consumer->handle = kafka_handle_new(settings, HANDLE_MEMBER, &callbacks, err);
    if (!consumer->handle)
        return false;
    (void)rd_kafka_poll_set_consumer(consumer->handle); /* errors come by the same queue */
    consumer->queue = rd_kafka_queue_get_consumer(consumer->handle);
    consumer->fd = wakeup_open(err);
    if (consumer->fd < 0)
        return false;
    kafka_handle_watch(consumer->queue, consumer->fd);
    return subscribe(consumer, err);
}

struct consumer *consumer_new(const struct settings *settings, struct error *err)
{
    /* librdkafka would take it for a pattern. */
    if (settings->kafka_topic[0] == '^') {
        error_set(err, ERROR_FATAL, "KAFKA_TOPIC begins with ^: it must be the name of one topic");
        return NULL;
    }

    struct consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer) {
        (void)error_no_memory(err);
        return NULL;
    }
    consumer->fd = -1;
    STAILQ_INIT(&consumer->notes);
    SLIST_INIT(&consumer->resets);
    (void)pthread_mutex_init(&consumer->lock, NULL);
    if (!open_handle(consumer, settings, err)) {
        consumer_free(consumer);
        return NULL; /* NOLINT(clang-analyzer-unix.Malloc): what hangs in librdkafka is left to it
                      */
    }
    return consumer;
}

/* Older releases end the process with a failed assertion where the group is still joining. */
static bool may_destroy(const struct consumer *consumer)
{
    return consumer->assigned || !consumer->subscribed ||
           rd_kafka_version() >= DESTROY_FIXED_VERSION;
}

/* Handles that could not be destroyed stay reachable, so that LeakSanitizer reports none of them.
 */
static struct consumer *volatile left_behind;
static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER; /* retire() is on other threads */

static void leave_behind(struct consumer *consumer)
{
    (void)pthread_mutex_lock(&left_lock);
    consumer->left_before = left_behind;
    left_behind = consumer;
    (void)pthread_mutex_unlock(&left_lock);
}

void consumer_free(struct consumer *consumer)
{
    if (!consumer)
        return;
    if (consumer->held)
        rd_kafka_message_destroy(consumer->held);
    if (consumer->queue)
        rd_kafka_queue_io_event_enable(consumer->queue, -1, NULL, 0);
    if (consumer->closing)
        rd_kafka_queue_destroy(consumer->closing);
    if (consumer->queue)
        rd_kafka_queue_destroy(consumer->queue);
    if (!may_destroy(consumer)) {
        leave_behind(consumer);
        kafka_handle_leave_behind();
        return;
    }
    if (!kafka_handle_free(consumer->handle)) {
        leave_behind(consumer); /* with what its threads may still use */
        return;
    }
    while (!STAILQ_EMPTY(&consumer->notes)) {
        struct note *note = STAILQ_FIRST(&consumer->notes);

        STAILQ_REMOVE_HEAD(&consumer->notes, entry);
        free_note(note);
    }
    if (consumer->fd >= 0)
        (void)close(consumer->fd);
    struct consumer_event unread;
    while (next_reset(consumer, &unread))
        ;
    (void)pthread_mutex_destroy(&consumer->lock);
    commits_free(consumer->commits);
    free(consumer->headers.items);
    free(consumer->topic);
    free(consumer);
}

static void *retire(void *consumer)
{
    consumer_free(consumer);
    return NULL;
}

void consumer_retire(struct consumer *consumer)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, retire, consumer) == 0)
        (void)pthread_detach(thread);
    else
        consumer_free(consumer);
}

bool consumer_check(const struct settings *settings, struct error *err)
{
    rd_kafka_t *handle = kafka_handle_new(settings, HANDLE_READER, NULL, err);

    if (!handle)
        return false;
    kafka_handle_retire(handle);
    return true;
}

int consumer_fd(const struct consumer *consumer)
{
    return consumer->fd;
}

struct consumer_partition consumer_event_partition(const struct consumer_event *event, size_t i)
{
    const struct note *note = event->handle;
    const rd_kafka_topic_partition_t *partition = &note->partitions->elems[i];

    assert(i < event->partitions_n);
    return (struct consumer_partition){
        .partition = partition->partition,
        .offset = partition->err || partition->offset < 0 ? -1 : partition->offset,
    };
}

static rd_kafka_topic_partition_list_t *list_of_one(const struct consumer *consumer,
                                                    int32_t partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, consumer->topic, partition)->offset = offset;
    return list;
}

static bool set_stored(const struct consumer *consumer, int32_t partition, int64_t offset)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = list_of_one(consumer, partition, offset);

    return !rd_kafka_offsets_store(consumer->handle, list) && !list->elems[0].err;
}

static void commit_beginning(struct consumer *consumer, int32_t partition, int64_t offset)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = list_of_one(consumer, partition, offset);
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(consumer->handle, list, consumer->queue, on_begun, consumer);

    if (code) /* else the answer comes as an event */
        commits_begun(consumer->commits, partition, offset, false, clock_ms());
}

static void store(struct consumer *consumer, int32_t partition, int64_t offset)
{
    if (!set_stored(consumer, partition, offset)) /* it is another worker's by now */
        commits_remove(consumer->commits, partition);
}

static void continue_commits(struct consumer *consumer)
{
    int32_t partition = -1;
    int64_t offset = -1;

    for (;;)
        switch (commits_next(consumer->commits, clock_ms(), &partition, &offset)) {
        case COMMITS_BEGIN:
            commit_beginning(consumer, partition, offset);
            break;
        case COMMITS_STORE:
            store(consumer, partition, offset);
            break;
        case COMMITS_NOTHING:
            return;
        }
}

static void describe_error(struct consumer *consumer, const struct note *note,
                           struct consumer_event *event)
{
    event->error = (struct consumer_error){
        .code = rd_kafka_err2name(note->code),
        .text = note->text,
        .hint = kafka_failure_hint(consumer->handle, note->code),
        .passing = kafka_failure_passes(note->code),
        .fatal = note->code == RD_KAFKA_RESP_ERR__FATAL,
        .of_commit = note->of_commit,
    };
}

static void next_note(struct consumer *consumer, struct consumer_event *event)
{
    struct note *note = STAILQ_FIRST(&consumer->notes);

    assert(note);
    STAILQ_REMOVE_HEAD(&consumer->notes, entry);
    event->kind = note->kind;
    event->handle = note;
    event->partitions_n = note->partitions ? (size_t)note->partitions->cnt : 0;
    if (note->kind == CONSUMER_ERROR)
        describe_error(consumer, note, event);
}

/* A message, or what librdkafka puts in the place of one: an end or an error. */
static void read_message(struct consumer *consumer, rd_kafka_message_t *message,
                         struct consumer_event *event)
{
    if (message->err && message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        (void)note_error(consumer, message->err, rd_kafka_message_errstr(message));
        rd_kafka_message_destroy(message);
        next_note(consumer, event);
        return;
    }
    event->kind = message->err ? CONSUMER_END : CONSUMER_MESSAGE;
    event->handle = message;
    event->partition = message->partition;
    event->offset = message->offset;
    if (!message->err && !message_read(message, &consumer->headers, &event->record))
        memory_exhausted();
}

/* Drop messages from fetches still in flight; the next owner will receive them. */
static void serve_closing(struct consumer *consumer)
{
    rd_kafka_message_t *message;

    while (STAILQ_EMPTY(&consumer->notes) &&
           (message = rd_kafka_consume_queue(consumer->closing, 0)))
        rd_kafka_message_destroy(message);
}

static rd_kafka_message_t *poll_once(struct consumer *consumer)
{
    if (!consumer->closing)
        return rd_kafka_consumer_poll(consumer->handle, 0);
    serve_closing(consumer);
    return NULL;
}

void consumer_next(struct consumer *consumer, struct consumer_event *event)
{
    assert(!consumer->lent);
    *event = (struct consumer_event){ .kind = CONSUMER_NONE };

    continue_commits(consumer);
    if (next_reset(consumer, event)) { /* before the record that comes instead */
        consumer->lent = true;
        return;
    }
    if (STAILQ_EMPTY(&consumer->notes) && !consumer->held) {
        (void)wakeup_clear(consumer->fd);
        consumer->held = poll_once(consumer);
    }
    if (!STAILQ_EMPTY(&consumer->notes))
        next_note(consumer, event);
    else if (consumer->held) {
        rd_kafka_message_t *message = consumer->held;
        consumer->held = NULL;
        read_message(consumer, message, event);
    }
    consumer->lent = event->kind != CONSUMER_NONE;
}

void consumer_done(struct consumer *consumer, struct consumer_event *event)
{
    assert(consumer->lent);
    if (event->kind == CONSUMER_MESSAGE || event->kind == CONSUMER_END)
        rd_kafka_message_destroy(event->handle);
    else if (event->kind != CONSUMER_RESET)
        free_note(event->handle);
    consumer->lent = false;
    *event = (struct consumer_event){ .kind = CONSUMER_NONE };
}

static bool is_cooperative(const struct consumer *consumer)
{
    const char *protocol = rd_kafka_rebalance_protocol(consumer->handle);

    return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static bool answered(const struct consumer *consumer, rd_kafka_error_t *refusal, const char *what,
                     struct error *err)
{
    if (!refusal)
        return true;
    rd_kafka_resp_err_t code = rd_kafka_error_code(refusal);
    rd_kafka_error_destroy(refusal);
    return kafka_failure(err, consumer->handle, code, what);
}

/* The whole assignment, for a group that does not hand over one partition at a time. */
static bool assign_all(const struct consumer *consumer,
                       const rd_kafka_topic_partition_list_t *partitions, const char *what,
                       struct error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->handle, partitions);

    return code ? kafka_failure(err, consumer->handle, code, what) : true;
}

bool consumer_accept(struct consumer *consumer, const struct consumer_event *event,
                     struct error *err)
{
    static const char what[] = "taking partitions";
    const struct note *note = event->handle;

    assert(event->kind == CONSUMER_ASSIGNED);
    for (int i = 0; i < note->partitions->cnt; i++)
        if (!commits_add(consumer->commits, note->partitions->elems[i].partition))
            return error_no_memory(err);
    if (!is_cooperative(consumer))
        return assign_all(consumer, note->partitions, what, err);
    return answered(consumer, rd_kafka_incremental_assign(consumer->handle, note->partitions), what,
                    err);
}

/*
 * librdkafka commits what is stored when it unassigns, lost or not. Of a lost one
 * nothing is to be: a topic that was deleted and made again would begin where the old
 * one ended.
 */
static void settle_stored(struct consumer *consumer, int32_t partition, bool lost)
{
    int64_t offset = RD_KAFKA_OFFSET_INVALID;

    if (lost || commits_last(consumer->commits, partition, clock_ms(), &offset))
        (void)set_stored(consumer, partition, offset); /* refused: it is gone already */
    commits_remove(consumer->commits, partition);
}

bool consumer_unassign(struct consumer *consumer, const struct consumer_event *event,
                       struct error *err)
{
    static const char what[] = "giving partitions back";
    const struct note *note = event->handle;

    assert(event->kind == CONSUMER_REVOKED || event->kind == CONSUMER_LOST);
    for (int i = 0; i < note->partitions->cnt; i++)
        settle_stored(consumer, note->partitions->elems[i].partition, event->kind == CONSUMER_LOST);
    if (!is_cooperative(consumer))
        return assign_all(consumer, NULL, what, err);
    return answered(consumer, rd_kafka_incremental_unassign(consumer->handle, note->partitions),
                    what, err);
}

bool consumer_store(struct consumer *consumer, int32_t partition, int64_t offset)
{
    bool ours = commits_offer(consumer->commits, partition, offset);

    continue_commits(consumer);
    return ours;
}

bool consumer_begin(struct consumer *consumer, int32_t partition, int64_t offset)
{
    (void)set_stored(consumer, partition, RD_KAFKA_OFFSET_INVALID); /* of an earlier epoch */
    bool ours = commits_offer_beginning(consumer->commits, partition, offset, clock_ms());

    continue_commits(consumer);
    return ours;
}

static bool pause_or_resume(struct consumer *consumer, int32_t partition, bool pause,
                            struct error *err)
{
    CLEANUP(partitions_freep)
    rd_kafka_topic_partition_list_t *list = list_of_one(consumer, partition, 0);
    rd_kafka_resp_err_t code = pause ? rd_kafka_pause_partitions(consumer->handle, list)
                                     : rd_kafka_resume_partitions(consumer->handle, list);

    if (!code)
        code = list->elems[0].err;
    return code ? kafka_failure(err, consumer->handle, code, pause ? "pausing" : "resuming") : true;
}

bool consumer_pause(struct consumer *consumer, int32_t partition, struct error *err)
{
    return pause_or_resume(consumer, partition, true, err);
}

bool consumer_resume(struct consumer *consumer, int32_t partition, struct error *err)
{
    return pause_or_resume(consumer, partition, false, err);
}

int64_t consumer_member_ms(const struct consumer *consumer)
{
    return consumer->member_ms;
}

int64_t consumer_end_offset(struct consumer *consumer, int32_t partition)
{
    int64_t low = -1;
    int64_t high = -1;

    /* From memory; asks nobody. */
    if (rd_kafka_get_watermark_offsets(consumer->handle, consumer->topic, partition, &low, &high))
        return -1;
    return high < 0 ? -1 : high;
}

bool consumer_close(struct consumer *consumer, struct error *err)
{
    assert(!consumer->closing);
    consumer->closing = rd_kafka_queue_new(consumer->handle);
    kafka_handle_watch(consumer->closing, consumer->fd);
    return answered(consumer, rd_kafka_consumer_close_queue(consumer->handle, consumer->closing),
                    "leaving the group", err);
}

bool consumer_closed(struct consumer *consumer)
{
    return consumer->closing && STAILQ_EMPTY(&consumer->notes) &&
           rd_kafka_consumer_closed(consumer->handle);
}
