/*
 * What allocates, or calls what can fail: each call fails once, then all from it on. Whatever
 * happens, an operation is done, or says so with an error that is for later; nothing leaks
 * (LeakSanitizer looks), and what is left can be released.
 */
#include "test_klaviyo_support.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "common/array.h"
#include "common/line_queue.h"
#include "common/seal.h"
#include "tests/support/faults.h"
#include "worker/cli/arguments.h"
#include "worker/cli/table.h"
#include "worker/export/batch.h"
#include "worker/export/import_failures.h"
#include "worker/export/list_comparison.h"
#include "worker/export/mapping.h"
#include "worker/export/rows.h"
#include "worker/export/trial.h"
#include "worker/http/page.h"
#include "worker/ingest/dead_letter.h"
#include "worker/ingest/export_names.h"
#include "worker/ingest/offsets.h"
#include "worker/ingest/pending_event.h"
#include "worker/kafka/consumer.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/properties.h"
#include "worker/kafka/reader.h"
#include "worker/kafka/record_lookup.h"
#include "worker/klaviyo/list_page.h"
#include "worker/klaviyo/profile_lookup.h"
#include "worker/klaviyo/url.h"
#include "worker/outcome/outcome_event.h"
#include "worker/service/database_probe.h"
#include "worker/settings/env_file.h"
#include "worker/settings/settings.h"
#include "worker/store/batch_rows.h"
#include "worker/store/database_url.h"
#include "worker/store/freshness.h"
#include "worker/task/payload_mask.h"
#include "worker/task/task_work.h"

/* An operation: true, it is done as it should be; else err says why. */
typedef bool scenario(struct error *err);

static int nowhere; /* where what is printed goes */

static bool ended(bool ok, struct error *err)
{
    return ok || error_no_memory(err);
}

/* ---- common ---- */

static bool an_array_grows(struct error *err)
{
    size_t cap = 0;
    int *items = NULL;
    bool ok = true;

    for (size_t n = 0; ok && n < 100; n++) {
        int *larger = array_grow(items, n, &cap, sizeof *items);
        ok = larger != NULL;
        items = ok ? larger : items;
        if (ok)
            items[n] = 1;
    }
    free(items);
    return ended(ok, err);
}

static bool a_text_grows(struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(100000);

    for (int i = 0; i < 1000; i++) {
        strbuf_addf(&text, "%d", i);
        strbuf_add_str(&text, " and ");
    }
    return ended(strbuf_ok(&text), err);
}

static bool a_queue_of_lines_begins(struct error *err)
{
    struct line_queue queue = { .bytes = NULL };
    bool ok = line_queue_init(&queue, 1000) && line_queue_put(&queue, "a line", 6, 0);

    line_queue_release(&queue);
    return ended(ok, err);
}

#define KEY_FILE "/tmp/klaviyo-worker-fault-loops.key"

/* A key file that was not made whole is not there. */
static bool a_key_pair_is_kept(struct error *err)
{
    struct seal_pair made = SEAL_PAIR_INIT, read = SEAL_PAIR_INIT;
    char path[64];

    (void)snprintf(path, sizeof path, "%s.%d", KEY_FILE, (int)getpid());
    bool ok = seal_pair_generate(&made, err) && seal_pair_save(&made, path, err);
    assert_int_equal(access(path, F_OK) == 0, ok);
    ok = ok && seal_pair_load(&read, path, err) &&
         memcmp(made.public_key, read.public_key, SEAL_KEY_BYTES) == 0;
    (void)remove(path);
    seal_pair_release(&made);
    seal_pair_release(&read);
    return ok;
}

/* ---- settings ---- */

static bool settings_are_read(struct error *err)
{
    struct settings settings;

    return settings_load(&settings, &(struct settings_checks){ database_url_check, NULL }, err);
}

static bool a_file_of_settings_is_read(struct error *err)
{
    return env_file_load(SOURCE_DIR "/deploy/systemd/klaviyo-worker.env", err);
}

/* ---- Kafka ---- */

static bool properties_are_read(struct error *err)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;

    return properties_load(&properties, SOURCE_DIR "/deploy/systemd/kafka.properties", err);
}

static struct settings to_nobody(void)
{
    return (struct settings){ .kafka_bootstrap_servers = "127.0.0.1:1",
                              .kafka_config_file = "",
                              .kafka_topic = "t",
                              .kafka_dead_letter_topic = "d",
                              .kafka_outcome_topic = "",
                              .kafka_group_id = "g" };
}

static bool a_consumer_is_made(struct error *err)
{
    const struct settings settings = to_nobody();
    struct consumer *consumer = consumer_new(&settings, err);

    consumer_free(consumer);
    return consumer != NULL;
}

static bool a_producer_is_made(struct error *err)
{
    const struct settings settings = to_nobody();
    struct producer *producer = producer_new(&settings, err);

    producer_free(producer);
    return producer != NULL;
}

static bool a_reader_of_records_is_made(struct error *err)
{
    const struct settings settings = to_nobody();
    struct record_lookup *lookup = record_lookup_new(&settings, err);

    record_lookup_free(lookup);
    return lookup != NULL;
}

/* ---- ingest ---- */

#define HEADER(name_, text)                                               \
    {                                                                     \
        .name = (name_), .value = (text), .value_bytes = sizeof(text) - 1 \
    }
#define EVENT                                                                                \
    "{\"segment_id\":\"s\\u00e9\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:" \
    "47Z\",\"export_id\":\"e\",\"full\":true,\"confirm_guards\":[\"size_jumped\"]}"

static const struct record_header event_headers[] = { HEADER("ce_specversion", "1.0"),
                                                      HEADER("ce_type", "segment.refreshed.v1"),
                                                      HEADER("ce_source", "/segments"),
                                                      HEADER("ce_id", "e-1"),
                                                      HEADER("content-type", "application/json") };
static const struct record event_record = { .topic = "segment-refresh",
                                            .key = "s",
                                            .key_bytes = 1,
                                            .value = EVENT,
                                            .value_bytes = sizeof EVENT - 1,
                                            .headers = event_headers,
                                            .headers_n = 5 };

static bool an_event_is_taken_in(struct error *err)
{
    struct pending_event *pending = NULL;
    enum event_verdict verdict = pending_event_new(&event_record, 1, &pending, err);

    if (verdict == EVENT_VALID)
        (void)pending_event_drop_body(pending);
    pending_event_free(pending);
    assert_true(verdict == EVENT_VALID || verdict == EVENT_NO_MEMORY);
    return ended(verdict == EVENT_VALID, err);
}

static bool a_dead_letter_is_written_and_brought_back(struct error *err)
{
    const struct dead_letter letter = { .record = &event_record,
                                        .reason = "event_invalid",
                                        .message = "no",
                                        .exports = "[\"e\"]",
                                        .run_id = 7 };
    CLEANUP(record_freep) struct record *written = dead_letter_build(&letter, DEAD_LETTER_WHOLE);

    if (!written)
        return error_no_memory(err);
    CLEANUP(record_freep) struct record *revived = dead_letter_revive(written, err);
    return revived != NULL;
}

static bool names_of_exports_are_read(struct error *err)
{
    static const char list[] = "[\"a\",\"b\\u00e9\",\"c\"]";
    struct export_names names = EXPORT_NAMES_INIT;
    bool ok = export_names_parse((struct bytes){ list, sizeof list - 1 }, &names, err);

    assert_true(!ok || names.n == 3);
    export_names_release(&names);
    return ok;
}

static bool offsets_are_followed(struct error *err)
{
    CLEANUP(offsets_freep) struct offsets *offsets = offsets_new();
    struct offsets_view view = { .open = 0 };
    size_t opened = 0;
    int64_t epoch;

    if (!offsets || !offsets_assign(offsets, 3))
        return error_no_memory(err);
    for (int64_t offset = 0; offset < 200; offset++)
        opened += offsets_deliver(offsets, 3, offset, &epoch) == OFFSETS_OPENED;
    assert_true(offsets_look(offsets, 0, &view));
    assert_int_equal(view.open, opened);
    return ended(opened == 200, err);
}

/* ---- export ---- */

#define OBJECT(name) "{\"type\":\"profile\",\"attributes\":{\"email\":\"" name "@x.example\"}}"
#define BODY OBJECT("a") ",\n" OBJECT("b")

static bool a_batch_is_filled(struct error *err)
{
    const struct batch_limits limits = { .rows = 1000, .bytes = 1000000 };
    CLEANUP(batch_release) struct batch batch;
    CLEANUP(batch_rows_release) struct batch_rows rows;
    const struct batch_row row = { .address = { "a@x.example", 11 } };
    size_t added = 0;

    batch_init(&batch, &limits);
    batch_rows_init(&rows);
    for (int i = 0; i < 500; i++) {
        added += batch_add(&batch, OBJECT("a"), sizeof OBJECT("a") - 1) == BATCH_ADDED;
        batch_rows_add(&rows, &row);
    }
    assert_int_equal(batch.rows, added);
    return ended(added == 500 && binary_array_close(&rows.addresses) &&
                     binary_array_close(&rows.profile_ids) && binary_array_close(&rows.filled) &&
                     binary_array_close(&rows.listed) && binary_array_close(&rows.fingerprints),
                 err);
}

static bool rows_are_found_in_a_body(struct error *err)
{
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    bool ok = rows_parse(&rows, BODY, sizeof BODY - 1, err);

    assert_true(!ok || rows.n == 2);
    return ok;
}

static bool members_are_mapped(struct error *err)
{
    static char first_name[] = "first_name", zip[] = "location.zip", tier[] = "tier";
    const struct export_field fields[] = { { .name = first_name },
                                           { .name = zip },
                                           { .is_property = true, .name = tier } };
    const struct bytes values[] = { { "\"Ada\"", 5 }, { "1010", 4 }, { "[1]", 3 } };
    CLEANUP(mapping_freep) struct mapping *mapping = mapping_new(fields, 3);
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(4096);

    if (!mapping)
        return error_no_memory(err);
    mapping_add(mapping, &out, "ada@x.example", 13, values);
    return ended(strbuf_ok(&out), err);
}

static bool a_list_is_compared(struct error *err)
{
    CLEANUP(list_comparison_release) struct list_comparison comparison;
    char address[32];
    bool ok = true;

    list_comparison_init(&comparison);
    for (int i = 0; ok && i < 2000; i++) {
        int n = snprintf(address, sizeof address, "a%d@x.example", i);
        ok = list_comparison_add(&comparison, address, (size_t)n, KNOWN_OURS, err);
    }
    return ok;
}

static bool rows_of_a_trial_are_kept(struct error *err)
{
    CLEANUP(trial_release) struct trial trial;
    CLEANUP(strbuf_release) struct strbuf object = STRBUF_INIT(100);
    const struct member member = { .profile_id = { "p", 1 }, .address = { "a@x.example", 11 } };
    bool ok = true;

    trial_init(&trial, 3, NULL, 1000);
    strbuf_add_str(&object, "{}");
    for (int i = 0; ok && i < 3; i++)
        ok = strbuf_ok(&object) && trial_add(&trial, &member, &object);
    return ended(ok, err);
}

/* ---- Klaviyo ---- */

static struct response page_response(enum endpoint endpoint, char *body)
{
    return (struct response){ .endpoint = endpoint,
                              .transport = TRANSPORT_ANSWERED,
                              .status = 200,
                              .body = body,
                              .body_bytes = strlen(body) };
}

static char lists_body[] =
    "{\"data\":[{\"type\":\"list\",\"id\":\"L1\",\"attributes\":{\"name\":\"a\"}}],"
    "\"links\":{\"next\":\"https://a.klaviyo.com/api/lists?page=2\"}}";
static char profiles_body[] =
    "{\"data\":[{\"type\":\"profile\",\"id\":\"P1\",\"attributes\":{\"email\":\"a@x.example\"}}],"
    "\"links\":{\"next\":null}}";
static char errors_body[] =
    "{\"data\":[{\"attributes\":{\"code\":\"invalid\",\"detail\":\"no\","
    "\"original_payload\":{\"email\":\"a@x.example\"}}}],\"links\":{\"next\":\"https://x/?2\"}}";

static bool a_page_of_lists_is_read(struct error *err)
{
    const struct response response = page_response(ENDPOINT_LISTS, lists_body);
    CLEANUP(list_page_release) struct list_page page = LIST_PAGE_INIT;
    bool ok = list_page_parse(&response, &page, err);

    assert_true(!ok || (page.n == 1 && page.next));
    return ok;
}

static bool a_page_of_profiles_is_read(struct error *err)
{
    const struct response response = page_response(ENDPOINT_PROFILES, profiles_body);
    CLEANUP(profile_page_release) struct profile_page page = PROFILE_PAGE_INIT;
    bool ok = profile_page_parse(&response, &page, err);

    assert_true(!ok || page.n == 1);
    return ok;
}

static bool failed_rows_are_named(struct error *err)
{
    const struct response response = page_response(ENDPOINT_IMPORT_ERRORS, errors_body);
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    CLEANUP(import_failures_release) struct import_failures failures = IMPORT_FAILURES_INIT;
    CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    bool more = false;
    bool ok = rows_parse(&rows, BODY, sizeof BODY - 1, err) &&
              import_failures_begin(&failures, 2, rows.n, err) &&
              import_error_page_parse(&response, &page, err) &&
              import_failures_page(&failures, &rows, &page, &more, err);

    assert_true(!ok || failures.n <= 1); /* jansson may lose a byte: test_klaviyo_memory.c */
    return ok;
}

static bool a_url_is_made(struct error *err)
{
    const struct request request = list_page_request("https://a.klaviyo.com/api/lists?page=2");
    char *url = NULL;
    bool ok = url_make("https://a.klaviyo.com", &request, &url, err);

    free(url);
    return ok;
}

/* ---- http, outcome, store, task ---- */

static bool the_page_is_written(struct error *err)
{
    static char runs[] =
        "[{\"id\": 8, \"export\": \"x\", \"state\": \"failed\", \"reason\": "
        "\"list_gone\", \"detail\": \"no\", \"started_at\": null, \"counts\": {}}]";
    struct snapshot_view view = { .read_ms = 19000, .lists.runs = runs };
    const struct page_facts facts = { .worker = "host:1",
                                      .version = "0.1.0",
                                      .state = "ready",
                                      .ready = true,
                                      .all_slots = 4,
                                      .now_ms = 20000,
                                      .database = &view };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000000);

    return page_write(&facts, &out, err) && ended(strbuf_ok(&out), err);
}

static bool an_outcome_becomes_a_record(struct error *err)
{
    const struct outcome outcome = { .outcome_id = 5,
                                     .run_id = 17,
                                     .epoch = 3,
                                     .succeeded = true,
                                     .export_name = (char[]){ "news" },
                                     .segment_id = (char[]){ "vip" },
                                     .data = (char[]){ "{\"run\": 17}" },
                                     .ended_at = (char[]){ "2026-11-24T08:03:12Z" } };
    CLEANUP(record_freep) struct record *record = outcome_event_record(&outcome);

    return ended(record != NULL, err);
}

/* It has all of them or none. */
static bool freshness_is_copied(struct error *err)
{
    struct export_freshness items[] = { { .export_name = (char[]){ "a" } },
                                        { .export_name = (char[]){ "b" } } };
    const struct freshness from = { .items = items, .n = 2 };
    CLEANUP(freshness_release) struct freshness copy = freshness_copy(&from);

    for (size_t i = 0; i < copy.n; i++)
        assert_non_null(copy.items[i].export_name);
    return ended(copy.n == 2, err);
}

/* ---- service ---- */

static bool fine(void *opaque, struct error *err)
{
    (void)opaque, (void)err;
    return true;
}

static bool the_database_is_probed(struct error *err)
{
    static struct service_metrics metrics;
    const struct database_probe_ports ports = { .connect = fine };
    struct database_probe *probe = database_probe_start(&ports, &metrics, err);

    database_probe_free(probe);
    return probe != NULL;
}

/* ---- commands ---- */

static bool a_command_line_is_read(struct error *err)
{
    static const struct option_spec options[] = {
        { "--segment", OPTION_LIST, false, "SEGMENT", "a segment" }, OPTIONS_END
    };
    static const struct command command = {
        .words = "thing add", .operands = "NAME", .max_operands = 1, .options = options
    };
    static const char *const words[] = { "a", "--segment", "b", "--segment=c" };
    CLEANUP(arguments_release) struct arguments arguments = { 0 };
    bool ok = arguments_parse(&arguments, &command, 4, words, err);

    assert_true(!ok || (arguments.n_operands == 1 && arguments.n_given == 2));
    return ok;
}

/* What print.h leaves out once is missing for good, so JSON and CSV are played as programs. */
static bool a_table_is_printed(struct error *err)
{
    static const struct column columns[] = { { "NAME", "name", COLUMN_TEXT, COLUMN_IS_CUT },
                                             { "STATE", "state", COLUMN_STATE, COLUMN_STAYS },
                                             { "ROWS", "counts.rows", COLUMN_NUMBER, COLUMN_GOES },
                                             COLUMNS_END };
    static const char rows[] = "[{\"name\":\"a name that is much too long\",\"state\":\"failed\","
                               "\"counts\":{\"rows\":7}}]";
    const struct table_style style = { .columns = 20, .colours = true };
    int out = dup(STDOUT_FILENO);

    assert_true(out >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0);
    bool ok = table_print_styled(columns, rows, &style, "none", err);
    (void)fflush(stdout);
    assert_true(dup2(out, STDOUT_FILENO) >= 0);
    (void)close(out);
    return ok;
}

/* ---- tasks ---- */

/* Nothing of its values is left where the mask did not find the memory that it needs. */
static bool values_of_a_profile_are_masked(struct error *err)
{
    static const char document[] =
        "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\","
        "\"tags\":[\"a\",{\"b\":1}],\"none\":null}}";
    json_t *payload = json_loads(document, 0, NULL);
    bool ok = payload && payload_mask(payload);
    char *text = ok ? json_dumps(payload, 0) : NULL;

    assert_true(!text || !strstr(text, "example"));
    ok = text != NULL;
    free(text);
    json_decref(payload);
    return ended(ok, err);
}

/* Its database refuses the connection: that is its end, and one that is for later. */
static bool a_task_is_done_on_its_thread(struct error *err)
{
    static const char url[] = "postgresql://127.0.0.1:1/none";
    const struct settings settings = { .database_url = { .text = url } };
    const struct task_context context = { .settings = &settings };
    const struct task task = { .kind = (char[]){ "export preview" },
                               .arguments = (char[]){ "{}" } };
    struct error why = ERROR_INIT;
    const char *answer;
    struct task_work *work = task_work_start(&context, &task, -1, err);

    if (!work)
        return false;
    while (!task_work_has_ended(work))
        (void)usleep(1000);
    assert_false(task_work_answer(work, &answer, &why));
    assert_true(why.kind == ERROR_RETRY && *why.text);
    task_work_free(work);
    return true;
}

static const struct {
    scenario *does;
    const char *sentence;
} scenarios[] = {
#define SCENARIO(name) \
    {                  \
        name, #name    \
    }
    SCENARIO(an_array_grows),
    SCENARIO(a_text_grows),
    SCENARIO(a_queue_of_lines_begins),
    SCENARIO(a_key_pair_is_kept),
    SCENARIO(settings_are_read),
    SCENARIO(a_file_of_settings_is_read),
    SCENARIO(properties_are_read),
    SCENARIO(a_consumer_is_made),
    SCENARIO(a_producer_is_made),
    SCENARIO(a_reader_of_records_is_made),
    SCENARIO(an_event_is_taken_in),
    SCENARIO(a_dead_letter_is_written_and_brought_back),
    SCENARIO(names_of_exports_are_read),
    SCENARIO(offsets_are_followed),
    SCENARIO(a_batch_is_filled),
    SCENARIO(rows_are_found_in_a_body),
    SCENARIO(members_are_mapped),
    SCENARIO(a_list_is_compared),
    SCENARIO(rows_of_a_trial_are_kept),
    SCENARIO(a_page_of_lists_is_read),
    SCENARIO(a_page_of_profiles_is_read),
    SCENARIO(failed_rows_are_named),
    SCENARIO(a_url_is_made),
    SCENARIO(the_page_is_written),
    SCENARIO(an_outcome_becomes_a_record),
    SCENARIO(freshness_is_copied),
    SCENARIO(the_database_is_probed),
    SCENARIO(a_command_line_is_read),
    SCENARIO(a_table_is_printed),
    SCENARIO(values_of_a_profile_are_masked),
    SCENARIO(a_task_is_done_on_its_thread),
};

static unsigned wrong; /* answers */
static bool any_kind;  /* of error is right */

/* False: the call number nth of the fault was not made any more. */
static bool fails_well(size_t i, const char *fault, uint64_t nth, uint64_t times)
{
    struct error err = ERROR_INIT;

    fault_arm(fault, nth, times);
    bool ok = scenarios[i].does(&err);
    bool has_failed = fault_disarm(fault);
    if (!ok && (!has_failed || (!any_kind && err.kind != ERROR_RETRY) || !*err.text)) {
        print_error("%s, call %d of %s: error of kind %d: %s\n", scenarios[i].sentence, (int)nth,
                    fault, (int)err.kind, err.text);
        wrong++;
    }
    return has_failed;
}

static unsigned fail_each(size_t i, const char *fault)
{
    unsigned failed = 0;

    for (uint64_t times = 1; times <= FAULT_FOR_EVER; times += FAULT_FOR_EVER - 1)
        for (uint64_t nth = 1; fails_well(i, fault, nth, times); nth++)
            failed++;
    return failed;
}

static void fail_all(const char *const *calls, size_t n, unsigned at_least)
{
    unsigned failed = 0;

    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        for (size_t k = 0; k < n; k++)
            failed += fail_each(i, calls[k]);
    print_message("%u calls failed\n", failed);
    assert_int_equal(wrong, 0);
    assert_true(failed >= at_least);
}

static void every_allocation_may_fail(void **state)
{
    static const char *const calls[] = { "memory" };

    (void)state;
    fail_all(calls, 1, 700);
}

/* What is short now. */
static void every_call_that_needs_memory_or_a_descriptor_may_fail(void **state)
{
    static const char *const calls[] = { "sodium_malloc", "eventfd",      "curl_url", "open",
                                         "curl_url_set",  "curl_url_get", "fopen" };

    (void)state;
    fail_all(calls, sizeof calls / sizeof *calls, 30);
}

/* What may be broken for good: who calls is told so, or to try again. */
static void every_other_call_may_fail(void **state)
{
    static const char *const calls[] = { "read",         "write",
                                         "fsync",        "stat",
                                         "rd_kafka_new", "rd_kafka_conf_set",
                                         "getaddrinfo",  "rd_kafka_poll_set_consumer",
                                         "gethostname",  "rd_kafka_subscribe" };

    (void)state;
    any_kind = true;
    fail_all(calls, sizeof calls / sizeof *calls, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_call_that_needs_memory_or_a_descriptor_may_fail),
        cmocka_unit_test(every_other_call_may_fail),
    };

    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return sodium_init() < 0 || nowhere < 0 ? EXIT_FAILURE
                                            : cmocka_run_group_tests(tests, NULL, NULL);
}
