#include "worker/cli/exit_status.h"

#include <stdlib.h>
#include <sysexits.h>

#include "worker/cli/print.h"

enum { EXIT_USAGE = 2, EXIT_AGAIN = EX_TEMPFAIL };

int exit_status_of_failure(const struct error *err)
{
    print_problem("klaviyo-worker: ", err->text);
    return err->kind == ERROR_RETRY ? EXIT_AGAIN : EXIT_FAILURE;
}

int exit_status_of_settings(const struct error *err)
{
    print_problems("klaviyo-worker: ", err->text);
    return err->kind == ERROR_RETRY ? EXIT_AGAIN : EXIT_USAGE;
}

int exit_status_of_usage(const struct error *err, const char *words)
{
    struct error whole = *err;

    if (err->kind == ERROR_RETRY)
        return exit_status_of_failure(err);
    (void)error_set(&whole, ERROR_INPUT, "%s (see klaviyo-worker %s%s--help)", err->text, words,
                    *words ? " " : "");
    (void)exit_status_of_failure(&whole);
    return EXIT_USAGE;
}
