/* Writes deploy/settings.md from the table that the program reads its settings by. */
#include <stdio.h>
#include <stdlib.h>

#include "worker/settings/settings.h"

static const char before[] =
    "# Settings\n"
    "\n"
    "Environment variables. All wrong ones are reported at once, before anything is opened, and so is\n"
    "what is wrong in the files that the command reads (`SECRET_KEY_FILE`, `KAFKA_CONFIG_FILE`); the\n"
    "exit status is 2 then. Other variables that are read are named below the table. An empty variable\n"
    "counts as not set, save `HTTP_LISTEN` and `KAFKA_OUTCOME_TOPIC`.\n"
    "\n";

static const char after[] =
    "\n"
    "- `DATABASE_URL_FILE` names a file with the value of `DATABASE_URL`; set one of the two. A file is\n"
    "  not seen in the environment of the process.\n"
    "- `KAFKA_CONFIG_FILE` has one `property=value` a line, as `kcat -F` reads it; lines that begin with\n"
    "  `#` are comments. A file that serves `kcat` serves the worker, too. Its `bootstrap.servers` count\n"
    "  where `KAFKA_BOOTSTRAP_SERVERS` is not set, its `client.id` instead of the worker's own. What the\n"
    "  worker's guarantees rest on may stand there as it is (`acks=all`, `enable.idempotence=true`,\n"
    "  `enable.auto.commit=false`, `auto.offset.reset=earliest`, a `group.id` that is `KAFKA_GROUP_ID`);\n"
    "  what contradicts them is refused, with the reason. For the worker's place in the group\n"
    "  `auto.commit.interval.ms` and `retry.backoff.ms` do not count: it commits five times a second.\n"
    "- `KLAVIYO_ALLOW_HTTP=1` allows `http://` towards another machine. For tests only: it shows the key.\n"
    "- Read, too: `SSL_CERT_FILE` and `CURL_CA_BUNDLE` where `KLAVIYO_CA_FILE` is not set; the proxy of\n"
    "  requests to Klaviyo (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`, as curl reads them); the\n"
    "  `PG*` variables of libpq, for what `DATABASE_URL` leaves open; `NO_COLOR` and `TERM`, for what\n"
    "  commands print on a terminal; what systemd sets for its services (`NOTIFY_SOCKET`,\n"
    "  `WATCHDOG_USEC`, `JOURNAL_STREAM`).\n"
    "- SIGTERM takes `DRAIN_SECONDS` and 10 s more at most. Give the process that stops the worker longer than\n"
    "  that: `terminationGracePeriodSeconds`, `TimeoutStopSec`.\n"
    "- All workers of one group should have the same `KAFKA_*`, `KLAVIYO_*` and `LEASE_SECONDS`.\n"
    "\n"
    "This file is written by `settings-reference`; CONTRIBUTING.md says how.\n";

int main(void)
{
    (void)fputs(before, stdout);
    settings_print_markdown(stdout);
    (void)fputs(after, stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
