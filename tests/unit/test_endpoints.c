#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "worker/http/endpoints.h"
#include "worker/http/http_connections.h"

enum { ANSWER_BYTES = 256 * 1024, REQUEST_BYTES = 8 * 1024, TIMEOUT_MS = 10000 };

/* A database that the test holds by the sleeve. */
struct fixture {
    struct service_metrics metrics;
    struct run_control runs;
    struct run_metrics run_metrics;
    struct endpoints *endpoints;
    atomic_int reads, run_reads;
    atomic_int delay_ms;
    atomic_bool away, too_slow;
    const char *exports; /* set before anybody asks; NULL: there are none */
};

static bool read_fake(void *world, struct overview *overview, struct overview_lists *lists,
                      struct error *err)
{
    struct fixture *f = world;

    f->reads++;
    (void)poll(NULL, 0, f->delay_ms);
    if (f->away)
        return error_set(err, ERROR_RETRY, "away");
    *overview = (struct overview){ .queued = f->reads };
    lists->runs = strdup("[]");
    lists->exports = strdup(f->exports ? f->exports : "[]");
    return lists->runs && lists->exports;
}

/* Says what it was asked. */
static bool read_runs_fake(void *world, const struct history_filter *filter, char **runs,
                           struct error *err)
{
    struct fixture *f = world;
    char said[256];

    f->run_reads++;
    (void)poll(NULL, 0, f->delay_ms);
    if (f->away)
        return error_set(err, ERROR_RETRY, "away");
    (void)snprintf(said, sizeof said, "[\"export %s state %s limit %d\"]",
                   filter->export_name ? filter->export_name : "any",
                   filter->state ? filter->state : "any", (int)filter->limit);
    *runs = strdup(said);
    return *runs != NULL;
}

static bool was_too_slow_fake(void *world)
{
    const struct fixture *f = world;

    return f->too_slow;
}

static void disconnect_fake(void *world)
{
    (void)world;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = ERROR_INIT;

    service_metrics_init(&f->metrics);
    f->metrics.loop_last_tick_ms = clock_ms();
    const struct endpoints_options options = { .listen = "127.0.0.1:0",
                                               .worker = "test:1",
                                               .all_slots = 2,
                                               .metrics = &f->metrics,
                                               .runs = &f->runs,
                                               .run_metrics = &f->run_metrics,
                                               .database = { f, read_fake, read_runs_fake,
                                                             was_too_slow_fake, disconnect_fake } };
    *state = f;
    return endpoints_start(&options, &f->endpoints, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    endpoints_free(f->endpoints);
    service_metrics_release(&f->metrics);
    free(f);
    return 0;
}

static void wait_for_reads(const struct fixture *f, int n)
{
    int64_t began_ms = clock_ms();

    while (f->reads < n && clock_ms() - began_ms < TIMEOUT_MS)
        (void)poll(NULL, 0, 1);
    assert_int_equal(f->reads, n);
}

/* ---- a client ---- */

static int call(const struct fixture *f)
{
    const struct timeval timeout = { .tv_sec = TIMEOUT_MS / 1000 };
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(endpoints_port(f->endpoints)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void say(int fd, const char *words)
{
    assert_int_equal(send(fd, words, strlen(words), MSG_NOSIGNAL), strlen(words));
}

/* Up to the end of the connection; the caller frees. */
static char *hear(int fd)
{
    char *text = calloc(1, ANSWER_BYTES + 1);
    size_t len = 0;
    ssize_t n;

    while ((n = recv(fd, text + len, ANSWER_BYTES - len, 0)) > 0)
        len += (size_t)n;
    (void)close(fd);
    return text;
}

static char *ask(const struct fixture *f, const char *method, const char *path)
{
    char request[REQUEST_BYTES];
    int fd = call(f);

    (void)snprintf(request, sizeof request,
                   "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", method, path);
    say(fd, request);
    return hear(fd);
}

static void expect(const struct fixture *f, const char *path, const char *status, const char *words)
{
    char *answer = ask(f, "GET", path);

    assert_memory_equal(answer, "HTTP/1.1 ", 9);
    assert_memory_equal(answer + 9, status, 3);
    if (!strstr(answer, words))
        fail_msg("%s: not there: %s\n%s", path, words, answer);
    free(answer);
}

static atomic_llong ahead_ms; /* of the clock */

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void)
{
    int64_t __real_clock_ms(void);

    return __real_clock_ms() + ahead_ms;
}

/* ---- tests ---- */

static void liveness_follows_the_control_loop(void **state)
{
    struct fixture *f = *state;

    expect(f, "/livez", "200", "alive");
    f->metrics.loop_last_tick_ms = clock_ms() - 60000;
    expect(f, "/livez", "200", "alive"); /* it has only just been started */
    f->metrics.loop_last_tick_ms = clock_ms();
    ahead_ms += 60000;
    expect(f, "/livez", "200", "alive"); /* it may have been frozen */
    ahead_ms += 2000;
    expect(f, "/livez", "503", "the control loop does not turn");
    f->metrics.loop_last_tick_ms = clock_ms();
    expect(f, "/livez", "200", "alive");
}

static void readiness_names_what_is_missing(void **state)
{
    struct fixture *f = *state;

    expect(f, "/readyz", "503", "the database is not reached");
    f->metrics.database_reached = true;
    f->metrics.database_connected_ms = clock_ms() - 61000;
    expect(f, "/readyz", "503", "the database has taken no new connection");
    f->metrics.database_connected_ms = clock_ms() - 50000;
    expect(f, "/readyz", "503", "not in the consumer group");
    f->metrics.subscribed = true;
    expect(f, "/readyz", "200", "ready");
    f->metrics.draining = true;
    expect(f, "/readyz", "503", "stopping");
}

static void the_first_who_asks_for_runs_gets_them_from_the_database(void **state)
{
    struct fixture *f = *state;

    f->delay_ms = 200;
    expect(f, "/api/runs", "200", "\r\n\r\n[]\n");
    expect(f, "/", "200", "<b>1</b>runs queued");
    assert_int_equal(f->reads, 1);
}

/* Not what the scrape before it found: that may be a minute old. */
static void a_scrape_tells_what_the_database_says_now(void **state)
{
    struct fixture *f = *state;

    f->delay_ms = 200;
    for (int n = 1; n <= 2; n++) {
        char sample[64];

        (void)snprintf(sample, sizeof sample, "klaviyo_worker_queued_runs %d\n", n);
        expect(f, "/metrics", "200", sample);
        (void)poll(NULL, 0, SNAPSHOT_FRESH_MS);
    }
}

static void a_scrape_waits_two_seconds_at_most(void **state)
{
    struct fixture *f = *state;
    int64_t began_ms;

    expect(f, "/metrics", "200", "klaviyo_worker_queued_runs 1\n");
    f->delay_ms = 3500;
    (void)poll(NULL, 0, SNAPSHOT_FRESH_MS);
    began_ms = clock_ms();
    expect(f, "/metrics", "200", "klaviyo_worker_queued_runs 1\n");
    assert_true(clock_ms() - began_ms < 3400);
    wait_for_reads(f, 2);
}

static void a_slow_database_holds_up_only_who_wants_to_know_of_it(void **state)
{
    struct fixture *f = *state;
    int64_t began_ms = clock_ms();

    f->delay_ms = 3500;
    int waits = call(f);
    say(waits, "GET /api/runs HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    wait_for_reads(f, 1);
    expect(f, "/livez", "200", "alive");
    expect(f, "/readyz", "503", "not ready");
    assert_true(clock_ms() - began_ms < 1500);
    char *answer = hear(waits);
    assert_memory_equal(answer, "HTTP/1.1 503", 12);
    assert_true(clock_ms() - began_ms < 3400);
    free(answer);
}

static void a_database_that_is_away_is_said_to_be(void **state)
{
    struct fixture *f = *state;

    f->away = true;
    expect(f, "/api/runs", "503", "{\"error\": \"the database does not answer\"}");
    expect(f, "/", "200", "The database has not answered");
    expect(f, "/export?name=x", "503", "The database has not answered");
    expect(f, "/export?name=x", "503", "not known yet");
    expect(f, "/run?id=1", "503", "not known yet");
}

static void a_database_that_is_slow_is_not_said_to_be_away(void **state)
{
    struct fixture *f = *state;

    f->away = f->too_slow = true;
    expect(f, "/api/runs", "503", "{\"error\": \"the database takes too long to answer\"}");
    expect(f, "/", "200", "The overview query takes longer than 2 s: what");
}

static void runs_beyond_the_newest_are_asked_for(void **state)
{
    struct fixture *f = *state;

    f->delay_ms = 100;
    expect(f, "/api/runs?limit=100", "200", "\r\n\r\n[]\n");
    assert_int_equal(f->run_reads, 0);
    expect(f, "/api/runs?limit=101", "200", "[\"export any state any limit 101\"]");
    expect(f, "/api/runs?export=x&limit=7", "200", "[\"export x state any limit 7\"]");
    expect(f, "/api/runs?state=failed", "200", "[\"export any state failed limit 100\"]");
    expect(f, "/api/runs?limit=1001", "400", "limit is no whole number from 1 to 1000");
    assert_int_equal(f->run_reads, 3);
    f->away = true;
    expect(f, "/api/runs?export=y", "503", "{\"error\": \"the database does not answer\"}");
}

static void the_same_question_costs_the_database_one_reading_a_second(void **state)
{
    struct fixture *f = *state;
    int64_t began_ms = clock_ms();

    for (int i = 0; i < 200; i++)
        expect(f, "/api/runs?export=x", "200", "export x");
    assert_true(f->run_reads <= 1 + (clock_ms() - began_ms) / 1000);
}

static void more_questions_at_once_than_there_is_room_for_are_put_off(void **state)
{
    struct fixture *f = *state;
    int clients[SNAPSHOT_QUESTIONS];

    f->delay_ms = 100;
    for (int i = 0; i < SNAPSHOT_QUESTIONS; i++) {
        char words[128];

        (void)snprintf(words, sizeof words,
                       "GET /api/runs?export=x%d HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
                       i);
        clients[i] = call(f);
        say(clients[i], words);
    }
    expect(f, "/api/runs?export=y", "503", "{\"error\": \"too many questions at once\"}");
    for (int i = 0; i < SNAPSHOT_QUESTIONS; i++) {
        char *answer = hear(clients[i]);

        assert_non_null(strstr(answer, "HTTP/1.1 200"));
        free(answer);
    }
    expect(f, "/api/runs?export=y", "200", "export y");
}

/* As many as a name may have characters, of four bytes each. */
static void add_name(struct strbuf *out, const char *character)
{
    for (int i = 0; i < 200; i++)
        strbuf_add_str(out, character);
}

static void the_longest_name_in_any_script_is_found(void **state)
{
    CLEANUP(strbuf_release) struct strbuf exports = STRBUF_INIT(REQUEST_BYTES);
    CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(REQUEST_BYTES);
    CLEANUP(strbuf_release) struct strbuf found = STRBUF_INIT(REQUEST_BYTES);
    struct fixture *f = *state;

    strbuf_add_str(&exports, "[{\"name\": \"other\"}, {\"name\": \"");
    add_name(&exports, "\U0001f600");
    strbuf_add_str(&exports, "\"}]");
    f->exports = exports.data;
    strbuf_add_str(&path, "/export?name=");
    add_name(&path, "%F0%9F%98%80");
    expect(f, path.data, "200", "<h2>Export ");
    strbuf_rewind(&path, 0);
    strbuf_add_str(&path, "/api/exports?export=");
    add_name(&path, "%F0%9F%98%80");
    strbuf_add_str(&found, "\r\n\r\n[{\"name\":\"");
    add_name(&found, "\U0001f600");
    strbuf_add_str(&found, "\"}]\n");
    expect(f, path.data, "200", found.data);
}

static void what_no_name_can_be_is_refused_and_not_left_out(void **state)
{
    static const char *const paths[] = { "/export?name=", "/api/exports?export=",
                                         "/api/runs?state=", "/run?id=" };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(REQUEST_BYTES);

        strbuf_add_str(&path, paths[i]);
        for (int n = 0; n < 1024; n++)
            strbuf_add_str(&path, "x");
        expect(f, path.data, "400", "{\"error\": \"an argument is no text, or too long\"}");
    }
    expect(f, "/api/exports?export=a%00b", "400",
           "{\"error\": \"an argument is no text, or too long\"}");
}

static void many_questions_cost_the_database_one_reading_a_second(void **state)
{
    static const char *const paths[] = { "/", "/api/runs", "/metrics", "/livez" };
    struct fixture *f = *state;
    int64_t began_ms = clock_ms();

    for (int i = 0; i < 1000; i++)
        expect(f, paths[i % 4], "200", "\r\n\r\n");
    assert_true(f->reads <= 1 + (clock_ms() - began_ms) / 1000);
}

static void questions_on_one_connection_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    int fd = call(f);

    say(fd, "GET /livez HTTP/1.1\r\nHost: t\r\n\r\nHEAD /api/runs HTTP/1.1\r\nHost: t\r\n\r\n"
            "GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n");
    char *answer = hear(fd);
    char *second = strstr(answer, "alive\nHTTP/1.1 200");
    assert_non_null(second);
    assert_non_null(strstr(second, "HTTP/1.1 404"));
    assert_null(strstr(answer, "[]"));
    free(answer);
}

static void a_silent_client_beyond_its_share_is_cut_off_and_no_other(void **state)
{
    enum { CLIENTS = HTTP_CONNECTIONS_PER_ADDRESS + 1 };
    struct fixture *f = *state;
    int clients[CLIENTS];
    int64_t began_ms = clock_ms();
    char byte;

    for (int i = 0; i < CLIENTS; i++)
        clients[i] = call(f);
    free(hear(clients[0]));
    assert_true(clock_ms() - began_ms < 5000); /* long before it would be idle for too long */
    assert_int_equal(recv(clients[1], &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 1; i < CLIENTS; i++)
        (void)close(clients[i]);
}

static void more_silent_clients_than_there_are_places_keep_nobody_out(void **state)
{
    enum { CLIENTS = 700 };
    struct fixture *f = *state;
    int clients[CLIENTS];
    int64_t began_ms = clock_ms();

    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = call(f);
        if (i % 2)
            say(clients[i], "GET /livez HTTP/1.1\r\nHost");
    }
    expect(f, "/livez", "200", "alive");
    assert_true(clock_ms() - began_ms < 5000);
    expect(f, "/metrics", "200", "klaviyo_worker_http_connections_cut_total{why=\"crowded\"} ");
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
}

static void many_who_wait_for_a_slow_database_keep_nobody_out(void **state)
{
    enum { CLIENTS = 600 };
    struct fixture *f = *state;
    int clients[CLIENTS];
    int64_t began_ms = clock_ms();

    f->delay_ms = 3500;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = call(f);
        say(clients[i], "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    expect(f, "/livez", "200", "alive");
    assert_true(clock_ms() - began_ms < 1900);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
}

static void an_end_with_questions_open_is_an_end(void **state)
{
    struct fixture *f = *state;

    f->delay_ms = 300;
    int waits = call(f);
    int silent = call(f);
    say(waits, "GET /api/runs HTTP/1.1\r\nHost: t\r\n\r\n");
    say(silent, "GET /");
    wait_for_reads(f, 1);
    endpoints_free(endpoints_take(&f->endpoints));
    (void)close(waits);
    (void)close(silent);
}

static void an_address_that_is_taken_is_named(void **state)
{
    struct fixture *f = *state;
    struct endpoints *second;
    struct error err = ERROR_INIT;
    char where[32];

    (void)snprintf(where, sizeof where, "127.0.0.1:%u", endpoints_port(f->endpoints));
    const struct endpoints_options options = { .listen = where,
                                               .worker = "test:2",
                                               .metrics = &f->metrics,
                                               .runs = &f->runs,
                                               .run_metrics = &f->run_metrics,
                                               .database = { f, read_fake, read_runs_fake,
                                                             was_too_slow_fake, disconnect_fake } };
    assert_false(endpoints_start(&options, &second, &err));
    assert_non_null(strstr(err.text, where));
    assert_non_null(strstr(err.text, "Address already in use"));
}

static void names_and_both_families_can_be_listened_on(void **state)
{
    static const char *const places[] = { "localhost:0", "*:0", "[::1]:0" };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct endpoints_options options = {
            .listen = places[i],
            .worker = "test:2",
            .metrics = &f->metrics,
            .runs = &f->runs,
            .run_metrics = &f->run_metrics,
            .database = { f, read_fake, read_runs_fake, was_too_slow_fake, disconnect_fake }
        };
        struct endpoints *endpoints = NULL;
        struct error err = ERROR_INIT;

        if (!endpoints_start(&options, &endpoints, &err))
            fail_msg("%s", err.text);
        endpoints_free(endpoints);
    }
}

static void an_empty_address_turns_them_off(void **state)
{
    struct endpoints *none = *state;
    const struct endpoints_options options = { .listen = "" };
    struct error err = ERROR_INIT;

    assert_true(endpoints_start(&options, &none, &err));
    assert_null(none);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(liveness_follows_the_control_loop),
        WITH_SERVER(readiness_names_what_is_missing),
        WITH_SERVER(the_first_who_asks_for_runs_gets_them_from_the_database),
        WITH_SERVER(a_scrape_tells_what_the_database_says_now),
        WITH_SERVER(a_scrape_waits_two_seconds_at_most),
        WITH_SERVER(a_slow_database_holds_up_only_who_wants_to_know_of_it),
        WITH_SERVER(a_database_that_is_away_is_said_to_be),
        WITH_SERVER(a_database_that_is_slow_is_not_said_to_be_away),
        WITH_SERVER(runs_beyond_the_newest_are_asked_for),
        WITH_SERVER(the_same_question_costs_the_database_one_reading_a_second),
        WITH_SERVER(more_questions_at_once_than_there_is_room_for_are_put_off),
        WITH_SERVER(the_longest_name_in_any_script_is_found),
        WITH_SERVER(what_no_name_can_be_is_refused_and_not_left_out),
        WITH_SERVER(many_questions_cost_the_database_one_reading_a_second),
        WITH_SERVER(questions_on_one_connection_are_answered_in_order),
        WITH_SERVER(a_silent_client_beyond_its_share_is_cut_off_and_no_other),
        WITH_SERVER(more_silent_clients_than_there_are_places_keep_nobody_out),
        WITH_SERVER(many_who_wait_for_a_slow_database_keep_nobody_out),
        WITH_SERVER(an_end_with_questions_open_is_an_end),
        WITH_SERVER(an_address_that_is_taken_is_named),
        WITH_SERVER(names_and_both_families_can_be_listened_on),
        cmocka_unit_test(an_empty_address_turns_them_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
