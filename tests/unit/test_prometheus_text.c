#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "worker/http/metrics_report.h"
#include "worker/http/prometheus_text.h"
#include "worker/metrics/run_metrics.h"

static void a_family_has_help_and_type_and_our_prefix(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);
    struct prometheus_text prometheus_text = { .out = &out };

    (void)state;
    prometheus_family(&prometheus_text, "things_total", PROMETHEUS_COUNTER,
                      "Things.\nAll \\ of them.");
    prometheus_number(&prometheus_text, NO_LABELS, 3);
    prometheus_number(&prometheus_text, LABELS({ "a", "x" }, { "b", "say \"no\"\\\n" }), -4);
    assert_string_equal(out.data, "# HELP klaviyo_worker_things_total Things.\\nAll \\\\ of them.\n"
                                  "# TYPE klaviyo_worker_things_total counter\n"
                                  "klaviyo_worker_things_total 3\n"
                                  "klaviyo_worker_things_total{a=\"x\",b=\"say \\\"no\\\"\\\\\\n\"}"
                                  " -4\n");
}

static void millionths_are_written_without_zeros_at_the_end(void **state)
{
    static const struct {
        int64_t millionths;
        const char *text;
    } cases[] = {
        { 0, "0" },           { 1, "0.000001" },  { 1500000, "1.5" },
        { -250000, "-0.25" }, { 90000000, "90" }, { INT64_MIN, "-9223372036854.775808" }
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);
        struct prometheus_text prometheus_text = { .out = &out, .name = "x_seconds" };

        prometheus_millionths(&prometheus_text, NO_LABELS, cases[i].millionths);
        assert_memory_equal(out.data, "klaviyo_worker_x_seconds ", 25);
        out.data[out.len - 1] = '\0';
        assert_string_equal(out.data + 25, cases[i].text);
    }
}

static void the_buckets_of_a_histogram_are_sums_and_the_last_is_all(void **state)
{
    static const int64_t bounds[] = { 50, 2500 };
    static const int64_t counts[] = { 2, 3, 4 };
    const struct prometheus_histogram histogram = { bounds, counts, 2, 12345 };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);
    struct prometheus_text prometheus_text = { .out = &out, .name = "t_seconds" };

    (void)state;
    prometheus_histogram(&prometheus_text, LABELS({ "e", "job" }), &histogram);
    assert_string_equal(out.data, "klaviyo_worker_t_seconds_bucket{e=\"job\",le=\"0.05\"} 2\n"
                                  "klaviyo_worker_t_seconds_bucket{e=\"job\",le=\"2.5\"} 5\n"
                                  "klaviyo_worker_t_seconds_bucket{e=\"job\",le=\"+Inf\"} 9\n"
                                  "klaviyo_worker_t_seconds_sum{e=\"job\"} 12.345\n"
                                  "klaviyo_worker_t_seconds_count{e=\"job\"} 9\n");
}

static void an_answer_is_tallied_by_endpoint_status_and_duration(void **state)
{
    static const struct {
        enum transport transport;
        int status;
        int64_t ms;
        enum run_metrics_status as;
        size_t bucket;
    } cases[] = {
        { TRANSPORT_ANSWERED, 202, 50, RUN_METRICS_2XX, 0 },
        { TRANSPORT_ANSWERED, 301, 51, RUN_METRICS_3XX, 1 },
        { TRANSPORT_ANSWERED, 429, 1000, RUN_METRICS_4XX, 4 },
        { TRANSPORT_ANSWERED, 503, 30000, RUN_METRICS_5XX, 8 },
        { TRANSPORT_ANSWERED, 999, 30001, RUN_METRICS_NO_RESPONSE, 9 },
        { TRANSPORT_BROKEN, 200, 0, RUN_METRICS_NO_RESPONSE, 0 },
        { TRANSPORT_TIMED_OUT, 0, 60000, RUN_METRICS_NO_RESPONSE, 9 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run_metrics *run_metrics = calloc(1, sizeof *run_metrics);
        const struct response response = { .endpoint = ENDPOINT_JOB,
                                           .transport = cases[i].transport,
                                           .status = cases[i].status,
                                           .duration_ms = cases[i].ms };
        const struct run_metrics_endpoint *job = &run_metrics->endpoints[ENDPOINT_JOB];

        run_metrics_response(run_metrics, &response);
        assert_int_equal(job->by_status[cases[i].as], 1);
        assert_int_equal(job->by_duration[cases[i].bucket], 1);
        assert_int_equal(job->duration_ms, cases[i].ms);
        free(run_metrics);
    }
}

static void a_failure_is_counted_by_its_reason(void **state)
{
    struct run_metrics *run_metrics = calloc(1, sizeof *run_metrics);

    (void)state;
    run_metrics_failure(run_metrics, REASON_LIST_GONE);
    run_metrics_failure(run_metrics, REASON_OTHER);
    run_metrics_failure(run_metrics, REASON_OTHER);
    for (size_t i = 0; i < RUN_REASONS; i++)
        assert_int_equal(run_metrics->failed[i], i == REASON_LIST_GONE ? 1
                                                 : i == REASON_OTHER   ? 2
                                                                       : 0);
    free(run_metrics);
}

static void lag_counts_from_the_watermark_or_the_commit_whichever_is_higher(void **state)
{
    static const struct {
        struct service_partition partition;
        int64_t lag;
    } cases[] = {
        { { .watermark = 3, .committed = 5, .end = 9 }, 4 },
        { { .watermark = 7, .committed = 5, .end = 9 }, 2 },
        { { .watermark = -1, .committed = 0, .end = 9 }, 9 },
        { { .watermark = 9, .committed = -1, .end = 5 }, 0 },
        { { .watermark = -1, .committed = -1, .end = 9 }, -1 },
        { { .watermark = 3, .committed = 3, .end = -1 }, -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(metrics_report_lag(&cases[i].partition), cases[i].lag);
}

/* The page of a worker that has just started. */
static void write_report(struct strbuf *out, struct service_metrics *metrics)
{
    const struct run_control runs = { .drain_ms = 0 };
    struct run_metrics *run_metrics = calloc(1, sizeof *run_metrics);
    const struct snapshot_view view = { .read_ms = 5 };
    const struct metrics_report report = { .service = metrics,
                                           .runs = &runs,
                                           .run_metrics = run_metrics,
                                           .database = &view,
                                           .all_slots = 4,
                                           .now_ms = 1005 };

    metrics_report_write(&report, out);
    free(run_metrics);
}

static void assert_has(const char *text, const char *line)
{
    if (!strstr(text, line))
        fail_msg("not there: %s", line);
}

static void partitions_and_exports_have_figures_of_their_own(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000000);
    static struct service_metrics metrics;
    const struct run_control runs = { .progress_ms = 5 };
    struct run_metrics *run_metrics = calloc(1, sizeof *run_metrics);
    char names[2][8] = { "a\"b", "new" };
    struct export_freshness items[] = { { names[0], 5500000, 1, 3600 },
                                        { names[1], 0, 7000000, 0 } };
    const struct freshness freshness = { .items = items, .n = 2, .omitted = 3 };
    const struct snapshot_view view = { .read_ms = 5 };
    const struct metrics_report report = { .service = &metrics,
                                           .runs = &runs,
                                           .run_metrics = run_metrics,
                                           .database = &view,
                                           .freshness = &freshness,
                                           .now_ms = 1005 };

    (void)state;
    service_metrics_init(&metrics);
    metrics.partitions[0] = (struct service_partition){ 3, 10, 9, 25, 2 };
    metrics.partitions[1] = (struct service_partition){ 4, -1, -1, -1, 0 };
    metrics.partitions_n = 2;
    metrics_report_write(&report, &out);
    assert_has(out.data, "\nklaviyo_worker_partition_lag_events{partition=\"3\"} 15\n");
    assert_has(out.data, "\nklaviyo_worker_partition_watermark_offset{partition=\"3\"} 10\n");
    assert_has(out.data, "\nklaviyo_worker_partition_committed_offset{partition=\"3\"} 9\n");
    assert_has(out.data, "\nklaviyo_worker_partition_end_offset{partition=\"3\"} 25\n");
    assert_has(out.data, "\nklaviyo_worker_partition_open_events{partition=\"4\"} 0\n");
    assert_null(strstr(out.data, "_lag_events{partition=\"4\"}")); /* not known */
    assert_has(out.data, "_last_success_timestamp_seconds{export=\"a\\\"b\"} 5.5\n");
    assert_has(out.data, "_changed_timestamp_seconds{export=\"new\"} 7\n");
    assert_has(out.data, "_expected_every_seconds{export=\"a\\\"b\"} 3600\n");
    assert_null(strstr(out.data, "_expected_every_seconds{export=\"new\"}"));
    assert_has(out.data, "\nklaviyo_worker_omitted_exports 3\n");
    assert_has(out.data, "\nklaviyo_worker_progress_age_seconds 1\n");
    service_metrics_release(&metrics);
    free(run_metrics);
}

static void every_counter_is_there_from_the_start(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000000);
    static struct service_metrics metrics;

    (void)state;
    service_metrics_init(&metrics);
    write_report(&out, &metrics);
    assert_true(strbuf_ok(&out));
    assert_has(out.data, "\nklaviyo_worker_events_ended_total{end=\"done\"} 0\n");
    assert_has(out.data, "\nklaviyo_worker_runs_failed_total{reason=\"list_gone\"} 0\n");
    assert_has(out.data, "\nklaviyo_worker_dead_letters_total{reason=\"event_invalid\"} 0\n");
    assert_has(out.data, "\nklaviyo_worker_dead_letters_total{reason=\"key_refused\"} 0\n");
    assert_has(out.data, "\nklaviyo_worker_run_slots{state=\"free\"} 4\n");
    assert_has(out.data, "\nklaviyo_worker_snapshot_age_seconds 1\n");
    assert_has(out.data, "\nklaviyo_worker_requests_total{endpoint=\"import\",status=\"5xx\"} 0\n");
    service_metrics_release(&metrics);
}

static void a_dead_letter_is_counted_under_its_reason_once(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000000);
    static struct service_metrics metrics;

    (void)state;
    service_metrics_init(&metrics);
    service_metrics_count_dead_letter(&metrics, "list_gone");
    service_metrics_count_dead_letter(&metrics, "list_gone");
    write_report(&out, &metrics);
    assert_has(out.data, "\nklaviyo_worker_dead_letters_total{reason=\"list_gone\"} 2\n");
    assert_null(strstr(out.data, "dead_letters_total{reason=\"list_gone\"} 0\n"));
    service_metrics_release(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_has_help_and_type_and_our_prefix),
        cmocka_unit_test(millionths_are_written_without_zeros_at_the_end),
        cmocka_unit_test(the_buckets_of_a_histogram_are_sums_and_the_last_is_all),
        cmocka_unit_test(an_answer_is_tallied_by_endpoint_status_and_duration),
        cmocka_unit_test(a_failure_is_counted_by_its_reason),
        cmocka_unit_test(lag_counts_from_the_watermark_or_the_commit_whichever_is_higher),
        cmocka_unit_test(partitions_and_exports_have_figures_of_their_own),
        cmocka_unit_test(every_counter_is_there_from_the_start),
        cmocka_unit_test(a_dead_letter_is_counted_under_its_reason_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
