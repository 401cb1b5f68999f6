#include "worker/admin/dead_letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "worker/admin/command_run.h"
#include "worker/cli/arguments.h"
#include "worker/cli/listing.h"
#include "worker/cli/print.h"
#include "worker/ingest/dead_letter.h"
#include "worker/ingest/event.h"
#include "worker/ingest/export_names.h"
#include "worker/kafka/kafka_settings.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/reader.h"
#include "worker/store/solved_letters.h"

enum { KAFKA_TIMEOUT_MS = 15000, TEXT_MAX_BYTES = 4096 };

/* Foreign bytes as JSON; what is not UTF-8 is shown as question marks. */
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

static json_t *time_or_null(int64_t utc_ms)
{
    char text[CLOCK_TEXT_BYTES];

    return clock_format_ms(utc_ms, text) ? json_string(text) : json_null();
}

static json_t *shown(const struct record *letter)
{
    struct dead_letter_view view;

    dead_letter_read(letter, &view);
    return json_pack(
        "{s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:b}", "partition",
        (int)letter->partition, "offset", (json_int_t)letter->offset, "at",
        time_or_null(letter->timestamp_ms), "segment_id", text_of(letter->key, letter->key_bytes),
        "reason", text_of(view.reason.at, view.reason.n), "message",
        text_of(view.message.at, view.message.n), "exports",
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

/* -- the letters, and what became of them -- */

/* The letters as they are shown, and what the database is asked about each. */
struct letters {
    json_t *shown, *asked;
};

static void letters_release(struct letters *letters)
{
    json_decref(letters->shown);
    json_decref(letters->asked);
}

static bool letters_init(struct letters *letters, struct error *err)
{
    letters->shown = json_array();
    letters->asked = json_array();
    return (letters->shown && letters->asked) || error_no_memory(err);
}

/* The exports that a letter names; none where it is not in our format. */
static json_t *names_of(struct bytes list)
{
    CLEANUP(export_names_release) struct export_names names = EXPORT_NAMES_INIT;
    struct error ignored = ERROR_INIT;
    json_t *array = json_array();

    if (list.at && export_names_parse(list, &names, &ignored))
        for (size_t i = 0; i < names.n; i++)
            (void)json_array_append_new(array, json_string(names.items[i]));
    return array;
}

static bool is_full(const struct record *letter)
{
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error ignored = ERROR_INIT;

    return event_parse(letter, &event, &ignored) == EVENT_VALID && event.full;
}

static bool add_letter(void *opaque, const struct record *letter, struct error *err)
{
    struct letters *letters = opaque;
    struct dead_letter_view view;

    dead_letter_read(letter, &view);
    json_t *asked = json_pack("{s:I, s:o, s:b}", "run", (json_int_t)view.run_id, "exports",
                              names_of(view.exports), "full", is_full(letter));
    return (json_array_append_new(letters->asked, asked) == 0 &&
            json_array_append_new(letters->shown, shown(letter)) == 0) ||
           error_no_memory(err);
}

/* An answer for each, in order; NULL: the database cannot be asked. */
static json_t *ask_database(struct context *context, const struct letters *letters)
{
    struct error err = ERROR_INIT;
    char *asked = json_dumps(letters->asked, JSON_COMPACT);
    char *json = NULL;
    json_t *solved = NULL;

    if (!asked)
        (void)error_no_memory(&err);
    else if (context_open_database(context, &err) &&
             solved_letters(context->db, asked, &json, &err))
        solved = json_loads(json, 0, NULL);
    if (!solved)
        warn_user("which dead letters are solved is not known without the database: %s", err.text);
    free(asked);
    free(json);
    return solved;
}

static bool read_letters(struct context *context, struct letters *letters, struct error *err)
{
    if (!letters_init(letters, err) || !for_each_letter(context, add_letter, letters, err))
        return false;
    if (json_array_size(letters->shown) == 0)
        return true;

    CLEANUP(json_freep) json_t *solved = ask_database(context, letters);
    for (size_t i = 0; i < json_array_size(letters->shown); i++) {
        json_t *word = json_array_get(solved, i);
        if (json_object_set(json_array_get(letters->shown, i), "solved",
                            word ? word : json_null()) != 0)
            return error_no_memory(err);
    }
    return true;
}

/* -- list -- */

static bool print(struct context *context, const json_t *letters, struct error *err)
{
    static const struct column columns[] = {
        { "PARTITION", "partition", COLUMN_NUMBER, COLUMN_GOES + 3 },
        { "OFFSET", "offset", true, false },
        { "AT", "at", COLUMN_TIME, COLUMN_GOES },
        { "SEGMENT", "segment_id", false, true },
        { "REASON", "reason", false, false },
        { "SOLVED", "solved", false, false },
        { "EXPORTS", "exports", false, true },
        { "RUN", "run_id", COLUMN_NUMBER, COLUMN_GOES + 1 },
        { "ATTEMPTS", "attempts", COLUMN_NUMBER, COLUMN_GOES + 2 },
        { "MESSAGE", "message", false, true },
        { NULL, NULL, false, false }
    };
    char *json = json_dumps(letters, 0);
    bool ok = json ? listing_print(context, columns, json, "There is no dead letter.", err)
                   : error_no_memory(err);

    free(json);
    return ok;
}

static bool list(struct context *context, struct error *err)
{
    CLEANUP(letters_release) struct letters letters = { 0 };

    return read_letters(context, &letters, err) && print(context, letters.shown, err);
}

/* -- replay: which -- */

struct replay {
    struct producer *producer;
    const char *topic;
    json_t *chosen; /* "partition/offset" of those to publish */
    int n_of_reason, n_solved, n_without_value;
    int sent, failed;
};

enum { PLACE_BYTES = 40 };

static void write_place(char place[PLACE_BYTES], int64_t partition, int64_t offset)
{
    (void)snprintf(place, PLACE_BYTES, "%" PRId64 "/%" PRId64, partition, offset);
}

static bool is_of_reason(const json_t *letter, const char *reason)
{
    const char *died_of = json_string_value(json_object_get(letter, "reason"));

    return !reason || (died_of && strcmp(died_of, reason) == 0);
}

static bool choose(struct replay *replay, const json_t *letter, struct error *err)
{
    char place[PLACE_BYTES];

    replay->n_of_reason++;
    if (json_is_true(json_object_get(letter, "solved"))) {
        replay->n_solved++;
        return true;
    }
    if (!json_is_true(json_object_get(letter, "has_value"))) {
        replay->n_without_value++;
        return true;
    }
    write_place(place, json_integer_value(json_object_get(letter, "partition")),
                json_integer_value(json_object_get(letter, "offset")));
    return json_object_set_new(replay->chosen, place, json_true()) == 0 || error_no_memory(err);
}

/* "list_gone (2), event_invalid (1)" */
static char *count_reasons(const json_t *letters)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(TEXT_MAX_BYTES);
    CLEANUP(json_freep) json_t *counts = json_object();
    const char *reason;
    json_t *count;

    for (size_t i = 0; i < json_array_size(letters); i++) {
        reason = json_string_value(json_object_get(json_array_get(letters, i), "reason"));
        if (!reason)
            reason = "none";
        json_int_t n = json_integer_value(json_object_get(counts, reason));
        (void)json_object_set_new(counts, reason, json_integer(n + 1));
    }
    json_object_foreach(counts, reason, count)
        strbuf_addf(&text, "%s%s (%" JSON_INTEGER_FORMAT ")", text.len ? ", " : "", reason,
                    json_integer_value(count));
    return strbuf_take(&text);
}

static bool choose_all(struct replay *replay, const json_t *letters, const char *reason,
                       struct error *err)
{
    for (size_t i = 0; i < json_array_size(letters); i++) {
        const json_t *letter = json_array_get(letters, i);
        if (is_of_reason(letter, reason) && !choose(replay, letter, err))
            return false;
    }
    if (!reason || replay->n_of_reason > 0 || json_array_size(letters) == 0)
        return true;
    char *reasons = count_reasons(letters);
    (void)error_set(err, ERROR_INPUT, "no dead letter has the reason %s; there are: %s", reason,
                    reasons ? reasons : "others");
    free(reasons);
    return false;
}

/* -- replay: publishing -- */

/* This many refusals in a row are no fault of the letters. */
enum { REFUSED_MAX = 10 };

static bool publish(struct replay *replay, const struct record *letter, struct error *err)
{
    CLEANUP(record_freep) struct record *event = dead_letter_revive(letter, err);

    return event && producer_send(replay->producer, replay->topic, event, KAFKA_TIMEOUT_MS, err);
}

/* One that cannot be published is named, and the others are. */
static bool replay_letter(void *opaque, const struct record *letter, struct error *err)
{
    struct replay *replay = opaque;
    struct error why = ERROR_INIT;
    char place[PLACE_BYTES];

    write_place(place, letter->partition, letter->offset);
    if (!json_object_get(replay->chosen, place))
        return true;
    if (publish(replay, letter, &why)) {
        replay->sent++;
        return true;
    }
    (void)error_wrap(&why, "dead letter at partition %d, offset %" PRId64, (int)letter->partition,
                     letter->offset);
    replay->failed++;
    if (why.kind != ERROR_INPUT || (replay->sent == 0 && replay->failed == REFUSED_MAX)) {
        *err = why;
        return false;
    }
    warn_user("%s", why.text);
    return true;
}

static void say_what_was_left(const struct replay *replay, const char *topic)
{
    if (replay->n_of_reason == 0)
        print_line("There is no dead letter in %s: nothing to publish again.", topic);
    else
        print_line("Published %d event%s again.", replay->sent, replay->sent == 1 ? "" : "s");
    if (replay->n_solved > 0)
        print_line("Left alone: %d dead letter%s solved by a later run.", replay->n_solved,
                   replay->n_solved == 1 ? "" : "s");
    if (replay->n_without_value > 0)
        warn_user("%d dead letter%s kept no event, as it was too large: have it published again",
                  replay->n_without_value, replay->n_without_value == 1 ? "" : "s");
}

static bool publish_chosen(struct context *context, struct replay *replay, struct error *err)
{
    if (json_object_size(replay->chosen) == 0)
        return true;
    CLEANUP(producer_freep) struct producer *producer = producer_new(context->settings, err);
    replay->producer = producer;
    if (!producer || !for_each_letter(context, replay_letter, replay, err))
        return false;
    return replay->failed == 0 ||
           error_set(err, ERROR_INPUT, "%d of %zu dead letters could not be published again",
                     replay->failed, json_object_size(replay->chosen));
}

static bool replay(struct context *context, struct error *err)
{
    CLEANUP(letters_release) struct letters letters = { 0 };
    CLEANUP(json_freep) json_t *chosen = json_object();
    struct replay replay = { .topic = context->settings->kafka_topic, .chosen = chosen };

    if (!chosen)
        return error_no_memory(err);
    if (!read_letters(context, &letters, err) ||
        !choose_all(&replay, letters.shown, arguments_value(context->arguments, "--reason"), err))
        return false;
    bool ok = publish_chosen(context, &replay, err);
    say_what_was_left(&replay, context->settings->kafka_dead_letter_topic);
    return ok;
}

static const struct option_spec list_options[] = { OPTIONS_OF_LISTING, OPTIONS_END };
static const struct option_spec replay_options[] = {
    { "--reason", OPTION_VALUE, false, "REASON", "only those with this reason" },
    OPTIONS_END,
};

/* clang-format off */
const struct command dead_letters_commands[] = {
    { .words = "dead-letters list", .operands = "",
      .options = list_options, .needs = NEEDS_SETTINGS, .checks = kafka_settings_checks,
      .summary = "list dead-lettered events, and why they failed", .run = list },
    { .words = "dead-letters replay", .operands = "", .options = replay_options,
      .needs = NEEDS_SETTINGS, .checks = kafka_settings_checks, .run = replay,
      .summary = "republish dead-lettered events",
      .details = "Each goes back to KAFKA_TOPIC; one that failed for one export only is restricted to\n"
                 "that export. Letters stay in their topic. A letter whose exports have all succeeded\n"
                 "since is solved and left alone; without the database that is not known, and all are\n"
                 "published." },
    { .words = NULL },
};
/* clang-format on */
