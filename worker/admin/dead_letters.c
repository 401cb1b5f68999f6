#include "worker/admin/dead_letters.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "worker/cli/arguments.h"
#include "worker/cli/json.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"
#include "worker/ingest/dead_letter.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/reader.h"

enum { KAFKA_TIMEOUT_MS = 15000, TEXT_MAX_BYTES = 4096 };

/* Bytes of somebody else's as JSON; what is not UTF-8 is shown as question marks. */
static json_t *text_of(const void *bytes, size_t n)
{
    CLEANUP(strbuf_release) struct strbuf ascii = STRBUF_INIT(TEXT_MAX_BYTES);
    const char *from = bytes;

    if (!from)
        return json_null();
    json_t *text = json_stringn(from, n);
    for (size_t i = 0; !text && i < n; i++)
        strbuf_add(&ascii, (unsigned char)from[i] < 0x80 && from[i] ? from + i : "?", 1);
    return text ? text : json_string(ascii.data ? ascii.data : "");
}

static json_t *number_or_null(int64_t number, bool is_there)
{
    return is_there ? json_integer(number) : json_null();
}

static json_t *shown(const struct record *letter)
{
    struct dead_letter_view view;
    char at[CLOCK_TEXT_BYTES];

    dead_letter_read(letter, &view);
    clock_format_us(letter->timestamp_ms * 1000, at);
    return json_pack(
        "{s:i, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:b}", "partition",
        (int)letter->partition, "offset", (json_int_t)letter->offset, "at", at, "segment_id",
        text_of(letter->key, letter->key_bytes), "reason", text_of(view.reason.at, view.reason.n),
        "message", text_of(view.message.at, view.message.n), "exports",
        text_of(view.exports.at, view.exports.n), "run_id",
        number_or_null(view.run_id, view.run_id != 0), "attempts", view.attempts, "event_topic",
        text_of(view.topic.at, view.topic.n), "event_partition",
        number_or_null(view.partition, view.partition >= 0), "event_offset",
        number_or_null(view.offset, view.partition >= 0), "has_value", !view.value_missing);
}

typedef bool letter_fn(void *opaque, const struct record *letter, struct error *err);

/* Every letter that is there now, in the order of partition and offset. */
static bool for_each_letter(struct context *context, letter_fn *take, void *opaque,
                            struct error *err)
{
    const struct settings *settings = context->settings;
    CLEANUP(reader_freep)
    struct reader *reader =
        reader_new(settings, settings->kafka_dead_letter_topic, KAFKA_TIMEOUT_MS, err);

    while (reader) {
        const struct record *letter;

        switch (reader_next(reader, &letter, err)) {
        case READER_RECORD:
            if (!take(opaque, letter, err))
                return false;
            break;
        case READER_END:
            return true;
        case READER_ERROR:
            return false;
        }
    }
    return false;
}

/* -- list -- */

static bool add_letter(void *opaque, const struct record *letter, struct error *err)
{
    json_t *letters = opaque;

    return json_array_append_new(letters, shown(letter)) == 0 || error_no_memory(err);
}

static bool print(const json_t *letters, bool as_json, struct error *err)
{
    static const struct column columns[] = { { "PARTITION", "partition", true, false },
                                             { "OFFSET", "offset", true, false },
                                             { "AT", "at", false, false },
                                             { "SEGMENT", "segment_id", false, true },
                                             { "REASON", "reason", false, false },
                                             { "EXPORTS", "exports", false, true },
                                             { "RUN", "run_id", true, false },
                                             { "ATTEMPTS", "attempts", true, false },
                                             { "MESSAGE", "message", false, true },
                                             { NULL, NULL, false, false } };
    char *json = json_dumps(letters, 0);
    bool ok = json ? table_print(columns, json, as_json, "There is no dead letter.", err)
                   : error_no_memory(err);

    free(json);
    return ok;
}

static bool list(struct context *context, const struct arguments *arguments, struct error *err)
{
    CLEANUP(json_freep) json_t *letters = json_array();

    if (!letters)
        return error_no_memory(err);
    return for_each_letter(context, add_letter, letters, err) &&
           print(letters, arguments_flag(arguments, "--json"), err);
}

/* -- replay -- */

struct replay {
    struct producer *producer;
    const char *topic;
    const char *reason; /* NULL: whatever it died of */
    int sent;
    int without_value;
};

static bool is_wanted(const struct replay *replay, const struct dead_letter_view *view)
{
    return !replay->reason || (view->reason.at && view->reason.n == strlen(replay->reason) &&
                               memcmp(view->reason.at, replay->reason, view->reason.n) == 0);
}

static bool replay_letter(void *opaque, const struct record *letter, struct error *err)
{
    struct replay *replay = opaque;
    struct dead_letter_view view;

    dead_letter_read(letter, &view);
    if (!is_wanted(replay, &view))
        return true;
    if (view.value_missing) {
        replay->without_value++;
        return true;
    }
    CLEANUP(record_freep) struct record *event = dead_letter_revive(letter, err);
    if (!event || !producer_send(replay->producer, replay->topic, event, KAFKA_TIMEOUT_MS, err))
        return error_wrap(err, "dead letter at partition %d, offset %lld", (int)letter->partition,
                          (long long)letter->offset);
    replay->sent++;
    return true;
}

static bool replay(struct context *context, const struct arguments *arguments, struct error *err)
{
    CLEANUP(producer_freep) struct producer *producer = producer_new(context->settings, err);
    struct replay replay = { .producer = producer,
                             .topic = context->settings->kafka_topic,
                             .reason = arguments_value(arguments, "--reason") };

    if (!producer)
        return false;
    bool ok = for_each_letter(context, replay_letter, &replay, err);
    print_line("Published %d event%s again.", replay.sent, replay.sent == 1 ? "" : "s");
    if (replay.without_value > 0)
        warn_user("%d dead letter%s kept no event, as it was too large: have it published anew",
                  replay.without_value, replay.without_value == 1 ? "" : "s");
    return ok;
}

static const struct option_spec list_options[] = { OPTION_JSON, OPTIONS_END };
static const struct option_spec replay_options[] = {
    { "--reason", OPTION_VALUE, false, "REASON", "only those that died of this" },
    OPTIONS_END,
};

/* clang-format off */
const struct command dead_letters_commands[] = {
    { .words = "dead-letters list", .operands = "",
      .options = list_options, .needs = NEEDS_SETTINGS,
      .summary = "events that came to nothing, and why", .run = list },
    { .words = "dead-letters replay", .operands = "", .options = replay_options,
      .needs = NEEDS_SETTINGS, .run = replay,
      .summary = "publish such events again",
      .details = "Each goes back to KAFKA_TOPIC; one that failed for one export only is restricted to\n"
                 "that export. Letters stay in their topic: replaying one twice does no harm, as an\n"
                 "event whose run has succeeded since is done without new work." },
    { .words = NULL },
};
/* clang-format on */
