#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/wakeup.h"
#include "tests/unit/diary.h"
#include "worker/export/scan_stop.h"

enum { BETWEEN_STATEMENTS = 6, ENOUGH_MS = 20000 };

static struct {
    int cancellers;       /* that there are */
    atomic_int cancelled; /* connections */
} world;

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

static bool step(const char *name, struct error *err)
{
    diary_note("%s", name);
    return diary_goes_well(name, err);
}

FAKE(bool, db_open_together,
     (struct db * *const out[], size_t n, const struct db_options *how UNUSED, struct error *err))
{
    if (!step("open", err))
        return false;
    for (size_t i = 0; i < n; i++)
        *out[i] = (struct db *)&world;
    return true;
}

FAKE(bool, db_begin_snapshot, (struct db * db UNUSED, struct error *err))
{
    return step("snapshot", err);
}

FAKE(bool, db_export_snapshot, (struct db * db UNUSED, char *name UNUSED, struct error *err))
{
    return step("export", err);
}

FAKE(bool, db_join_snapshot, (struct db * db UNUSED, const char *name UNUSED, struct error *err))
{
    return step("join", err);
}

FAKE(struct db_canceller *, db_canceller_new, (const struct db *db UNUSED))
{
    struct error ignored = ERROR_INIT;

    if (!diary_goes_well("canceller", &ignored))
        return NULL;
    world.cancellers++;
    return (struct db_canceller *)&world;
}

FAKE(void, db_canceller_free, (struct db_canceller * canceller))
{
    world.cancellers -= canceller != NULL;
}

FAKE(void, db_canceller_fire, (struct db_canceller * canceller UNUSED))
{
    atomic_fetch_add(&world.cancelled, 1);
}

/* ---- the cases ---- */

static const struct secret_source url;

/* Opens with this descriptor; the stop is the caller's. */
static bool open_scan(struct scan_stop **stop, const int *stop_fd, const char *failing)
{
    const struct scan_observer observer = { .stop_fd = stop_fd };
    struct member_scan scan = { .observer = &observer };
    struct error err = ERROR_INIT;

    diary_begin(failing);
    atomic_store(&world.cancelled, 0);
    return scan_stop_open(stop, &scan, &url, "test", &err);
}

static int descriptor(void)
{
    struct error err = ERROR_INIT;
    int fd = wakeup_open(&err);

    assert_true(fd >= 0);
    return fd;
}

static void a_stop_cancels_until_the_scan_is_over(void **state)
{
    int fd = descriptor();
    struct scan_stop *stop;

    (void)state;
    assert_true(open_scan(&stop, &fd, NULL));
    assert_string_equal(diary.text, "open snapshot export join");
    wakeup_signal(fd);
    for (int64_t until_ms = clock_ms() + ENOUGH_MS;
         atomic_load(&world.cancelled) < BETWEEN_STATEMENTS && clock_ms() < until_ms;)
        (void)usleep(1000);
    assert_true(atomic_load(&world.cancelled) >= BETWEEN_STATEMENTS);
    scan_stop_free(stop);
    assert_int_equal(world.cancellers, 0);
    (void)close(fd);
}

static void a_scan_that_nobody_stops_is_not_cancelled(void **state)
{
    int fd = descriptor();
    struct scan_stop *stop;

    (void)state;
    assert_true(open_scan(&stop, &fd, NULL));
    scan_stop_free(stop);
    assert_int_equal(world.cancelled, 0);
    assert_int_equal(world.cancellers, 0);
    (void)close(fd);
}

static void without_a_descriptor_nothing_is_watched(void **state)
{
    struct scan_stop *stop;

    (void)state;
    assert_true(open_scan(&stop, NULL, NULL));
    assert_null(stop);
}

static void what_fails_leaves_nothing(void **state)
{
    static const char *const calls[] = { "open", "canceller", "snapshot", "export", "join" };
    int fd = descriptor();

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct scan_stop *stop;

        assert_false(open_scan(&stop, &fd, calls[i]));
        scan_stop_free(stop);
        assert_int_equal(world.cancellers, 0);
    }
    (void)close(fd);
}

static void what_fails_while_it_is_to_stop_failed_by_that(void **state)
{
    int fd = descriptor();
    const struct scan_observer observer = { .stop_fd = &fd };
    struct error err = ERROR_INIT;

    (void)state;
    (void)error_set(&err, ERROR_INPUT, "the view raises an error");
    assert_false(scan_stop_failure(&observer, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_false(scan_stop_failure(NULL, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    wakeup_signal(fd);
    assert_false(scan_stop_failure(&observer, &err));
    assert_int_equal(err.kind, ERROR_LOST);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_cancels_until_the_scan_is_over),
        cmocka_unit_test(a_scan_that_nobody_stops_is_not_cancelled),
        cmocka_unit_test(without_a_descriptor_nothing_is_watched),
        cmocka_unit_test(what_fails_leaves_nothing),
        cmocka_unit_test(what_fails_while_it_is_to_stop_failed_by_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
