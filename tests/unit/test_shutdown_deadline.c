#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/service/shutdown_deadline.h"

enum { TIMEOUT_MS = 10000, PIPE_BYTES = 4096 };

/* A process that hangs, with a stderr that is full and that nobody reads. */
static void hang_with_a_full_stderr(void)
{
    struct error err = ERROR_INIT;
    int ends[2];

    if (pipe2(ends, 0) != 0 || fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) < 0)
        _exit(EXIT_SUCCESS);
    (void)dup2(ends[1], STDERR_FILENO);
    if (!log_start_writer(&err))
        _exit(EXIT_SUCCESS);
    for (int i = 0; i < 100; i++)
        log_info("filler", LOG_INT("i", i));
    shutdown_deadline_note("nothing");
    shutdown_deadline_arm(clock_ms() + 100);
    for (;;)
        (void)pause();
}

static void the_deadline_waits_for_no_reader_of_the_log(void **state)
{
    pid_t child = fork();
    int64_t until_ms = clock_ms() + TIMEOUT_MS;
    int status = 0;

    (void)state;
    assert_true(child >= 0);
    if (child == 0)
        hang_with_a_full_stderr();
    while (waitpid(child, &status, WNOHANG) == 0 && clock_ms() < until_ms)
        (void)usleep(10000);
    (void)kill(child, SIGKILL);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_deadline_waits_for_no_reader_of_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
