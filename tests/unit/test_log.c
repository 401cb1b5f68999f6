#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/strbuf.h"

enum { PIPE_BYTES = 4096, WAIT_MS = 10000, MUCH = 4 * 1024 * 1024 };

/* stderr is a small pipe that the test reads. */
static struct {
    int kept, read_end;
    struct strbuf got;
} sink;

static int put_pipe(void **state)
{
    int ends[2];

    (void)state;
    sink.got = STRBUF_INIT(MUCH);
    if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < 0)
        return -1;
    sink.kept = dup(STDERR_FILENO);
    sink.read_end = ends[0];
    (void)dup2(ends[1], STDERR_FILENO);
    (void)close(ends[1]);
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    return 0;
}

static int take_pipe_away(void **state)
{
    (void)state;
    (void)dup2(sink.kept, STDERR_FILENO);
    (void)close(sink.kept);
    if (sink.read_end >= 0)
        (void)close(sink.read_end);
    strbuf_release(&sink.got);
    return 0;
}

/* Reads until the text is there. */
static void read_until(const char *text)
{
    int64_t until_ms = clock_ms() + WAIT_MS;

    while (!sink.got.data || !strstr(sink.got.data, text)) {
        struct pollfd fd = { .fd = sink.read_end, .events = POLLIN };
        char bytes[4096];

        assert_true(clock_ms() < until_ms);
        if (poll(&fd, 1, 100) == 1) {
            ssize_t n = read(sink.read_end, bytes, sizeof bytes);
            assert_true(n > 0);
            strbuf_add(&sink.got, bytes, (size_t)n);
            assert_true(strbuf_ok(&sink.got));
        }
    }
}

static int count(const char *text)
{
    int n = 0;

    for (const char *at = sink.got.data; at && (at = strstr(at, text)); at++)
        n++;
    return n;
}

static void start_writer(void)
{
    struct error err = ERROR_INIT;

    assert_true(log_start_writer(&err));
}

static void a_line_has_time_level_event_and_values(void **state)
{
    (void)state;
    log_warn("odd", LOG_INT("n", -5), LOG_STR("text", "a \"b\"\n\033\xc2\x9b\xe2\x80\xae\xff"));
    read_until("}\n");
    assert_memory_equal(sink.got.data, "{\"time\":\"20", 11);
    assert_non_null(strstr(sink.got.data,
                           "Z\",\"level\":\"warn\",\"event\":\"odd\",\"n\":-5,\"text\":"
                           "\"a \\\"b\\\"\\u000a\\u001b\\u009b\\u202e\xef\xbf\xbd\"}\n"));
}

static void the_text_form_has_date_and_zone(void **state)
{
    char day[CLOCK_TEXT_BYTES];

    (void)state;
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    clock_format_us(clock_utc_us(), day);
    log_info("begun", LOG_STR("what", "x"));
    read_until("\n");
    assert_memory_equal(sink.got.data, day, 11); /* unless midnight came in between */
    assert_string_equal(sink.got.data + 19, "Z info  begun what=\"x\"\n");
}

static void a_line_that_is_too_long_is_cut_and_says_so(void **state)
{
    static char word[20000];

    (void)state;
    memset(word, 'x', sizeof word - 1);
    log_info("long", LOG_STR("word", word), LOG_INT("n", 7));
    read_until("}\n");
    assert_non_null(strstr(sink.got.data, "xxx\",\"n\":7,\"truncated\":1}\n"));
    assert_true(sink.got.len < 1000);
}

static void the_journal_is_told_the_priority(void **state)
{
    struct stat st;
    char stream[64];

    (void)state;
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_debug("d");
    log_info("i");
    log_warn("w");
    log_error("e");
    read_until("\"e\"}\n");
    assert_memory_equal(sink.got.data, "<7>{", 4);
    assert_int_equal(count("\n<6>{") + count("\n<4>{") + count("\n<3>{"), 3);

    (void)setenv("JOURNAL_STREAM", "1:1", 1); /* another stream than our stderr */
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_info("other");
    read_until("\"other\"}\n");
    assert_int_equal(count("\n{"), 1);
    (void)unsetenv("JOURNAL_STREAM");
}

static void nobody_waits_for_a_reader_and_what_was_dropped_is_counted(void **state)
{
    int64_t before = log_dropped_lines();
    char missing[64];

    (void)state;
    start_writer();
    for (int i = 0; i < 20000; i++) /* a blocked one would never get here */
        log_info("filler", LOG_INT("i", i));
    int64_t dropped = log_dropped_lines() - before;
    assert_true(dropped > 1000 && dropped < 20000);
    log_error("urgent"); /* has room of its own */
    (void)snprintf(missing, sizeof missing, "\"log_lines_dropped\",\"lines\":%lld}\n",
                   (long long)dropped);
    read_until(missing);
    log_stop_writer(WAIT_MS);
    assert_int_equal(count("\"filler\""), 20000 - dropped);
    assert_int_equal(count("\"urgent\""), 1);
    assert_int_equal(count("log_lines_dropped"), 1);
    assert_non_null(strstr(sink.got.data, "\"i\":0}"));
}

static void it_flows_again_after_that(void **state)
{
    (void)state;
    start_writer();
    for (int i = 0; i < 20000; i++)
        log_info("filler", LOG_INT("i", i));
    read_until("log_lines_dropped");
    log_info("later");
    read_until("\"later\"");
    log_stop_writer(WAIT_MS);
    assert_int_equal(count("log_lines_dropped"), 1);
}

static void all_is_written_when_it_stops(void **state)
{
    (void)state;
    start_writer();
    for (int i = 0; i < 20; i++)
        log_info("line", LOG_INT("i", i));
    log_stop_writer(WAIT_MS);
    log_info("direct");
    read_until("\"direct\"");
    assert_int_equal(count("\"line\""), 20);
}

static void a_descriptor_that_does_not_block_loses_nothing(void **state)
{
    (void)state;
    (void)fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    start_writer();
    for (int i = 0; i < 200; i++)
        log_info("line", LOG_INT("i", i));
    log_info("last");
    read_until("\"last\"");
    log_stop_writer(WAIT_MS);
    assert_int_equal(count("\"line\""), 200);
}

static void a_stderr_that_takes_nothing_is_no_reason_to_stop(void **state)
{
    int64_t before = log_dropped_lines();

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)close(sink.read_end);
    sink.read_end = -1;
    start_writer();
    for (int i = 0; i < 10; i++)
        log_info("line", LOG_INT("i", i));
    log_stop_writer(WAIT_MS);
    int64_t dropped = log_dropped_lines() - before;
    assert_in_range(dropped, 10, 20); /* with the lines that say so */
}

/* The last one: its writer hangs to the end of the process. */
/* As on a disk that gets full and is made room on. */
static void what_follows_a_line_that_was_cut_off_begins_a_line(void **state)
{
    const struct rlimit small = { 30, RLIM_INFINITY }, large = { RLIM_INFINITY, RLIM_INFINITY };
    char name[] = "/tmp/klaviyo-worker-test-log.XXXXXX", text[1000] = "";
    int file = mkostemp(name, O_CLOEXEC);

    (void)state;
    assert_true(file >= 0);
    (void)unlink(name);
    (void)dup2(file, STDERR_FILENO);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_info("cut_off", LOG_INT("n", 1));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &large), 0);
    log_info("whole", LOG_INT("n", 2));
    (void)!pread(file, text, sizeof text - 1, 0);
    (void)close(file);
    const char *second = strchr(text, '\n');
    assert_true(second && second - text == 30 && strstr(text, "\"whole\",\"n\":2}\n"));
    assert_int_equal(second[1], '{');
}

static void stopping_waits_no_longer_than_it_was_told(void **state)
{
    (void)state;
    start_writer();
    for (int i = 0; i < 1000; i++)
        log_info("filler", LOG_INT("i", i));
    int64_t from_ms = clock_ms();
    log_stop_writer(100);
    int64_t took_ms = clock_ms() - from_ms;
    assert_in_range(took_ms, 90, 5000);
    log_error("lost"); /* does not wait, either */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, put_pipe, take_pipe_away)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_event_and_values),
        TEST(the_text_form_has_date_and_zone),
        TEST(a_line_that_is_too_long_is_cut_and_says_so),
        TEST(the_journal_is_told_the_priority),
        TEST(nobody_waits_for_a_reader_and_what_was_dropped_is_counted),
        TEST(it_flows_again_after_that),
        TEST(all_is_written_when_it_stops),
        TEST(a_descriptor_that_does_not_block_loses_nothing),
        TEST(a_stderr_that_takes_nothing_is_no_reason_to_stop),
        TEST(what_follows_a_line_that_was_cut_off_begins_a_line),
        TEST(stopping_waits_no_longer_than_it_was_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
