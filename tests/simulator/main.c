#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <jansson.h>
#include <microhttpd.h>
#include <openssl/crypto.h>

#include "common/parse.h"
#include "common/version.h"
#include "tests/simulator/server.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { HELP = 'h', VERSION = 'V', LISTEN = 'l', PORT_FILE = 'p', MAX_DIARY = 'd' };
enum next { GO_ON, STOP_OK, STOP_USAGE };

struct options {
    const char *listen;
    const char *port_file; /* NULL: none */
    int64_t max_diary;
};

static const char usage[] =
    "usage: klaviyo-simulator [--listen ADDRESS:PORT] [--port-file FILE] [--max-diary N]\n"
    "\n"
    "An imitation of the part of the Klaviyo API that klaviyo-worker uses, in memory,\n"
    "with its published limits and with faults that a test can switch on.\n"
    "\n"
    "  --listen ADDRESS:PORT  where to listen (127.0.0.1:0, any free port)\n"
    "  --port-file FILE       write the port number there when ready\n"
    "  --max-diary N          how many requests to remember (100000)\n"
    "  --help, --version      print this, or the version, and end\n";

static bool read_number(const char *text, int64_t *out)
{
    if (parse_int64(text, 1, INT32_MAX, out))
        return true;
    (void)fprintf(stderr, "klaviyo-simulator: --max-diary: not a number: %s\n", text);
    return false;
}

/* As klaviyo-worker prints its own: the git commit, the libraries'. */
static void print_version(void)
{
    (void)printf("klaviyo-simulator %s (%s)\n", version_number(), version_git_commit());
    (void)printf("  %-14s %s\n", "libmicrohttpd", MHD_get_version());
    (void)printf("  %-14s %s\n", "jansson", jansson_version_str());
    (void)printf("  %-14s %s\n", "libcrypto", OpenSSL_version(OPENSSL_VERSION_STRING));
}

static enum next read_option(struct options *options, int option)
{
    switch (option) {
    case HELP:
        (void)fputs(usage, stdout);
        return STOP_OK;
    case VERSION:
        print_version();
        return STOP_OK;
    case LISTEN:
        options->listen = optarg;
        return GO_ON;
    case PORT_FILE:
        options->port_file = optarg;
        return GO_ON;
    case MAX_DIARY:
        return read_number(optarg, &options->max_diary) ? GO_ON : STOP_USAGE;
    default:
        (void)fputs(usage, stderr);
        return STOP_USAGE;
    }
}

static enum next read_options(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        { "help", no_argument, NULL, HELP },
        { "version", no_argument, NULL, VERSION },
        { "listen", required_argument, NULL, LISTEN },
        { "port-file", required_argument, NULL, PORT_FILE },
        { "max-diary", required_argument, NULL, MAX_DIARY },
        { 0 },
    };
    enum next next = GO_ON;
    int option;

    while (next == GO_ON && (option = getopt_long(argc, argv, "h", known, NULL)) != -1)
        next = read_option(options, option);
    if (next == GO_ON && optind < argc)
        next = read_option(options, '?');
    return next;
}

/* Under another name first: whoever waits for the file never sees half of it. */
static bool write_port(const char *path, uint16_t port, struct error *err)
{
    char temporary[4096];

    (void)snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(temporary, "we");
    if (!file)
        return error_errno(err, ERROR_FATAL, "writing %s", temporary);
    bool written = fprintf(file, "%u\n", (unsigned)port) > 0;
    if (fclose(file) != 0 || !written || rename(temporary, path) != 0)
        return error_errno(err, ERROR_FATAL, "writing %s", path);
    return true;
}

static void wait_for_end(const sigset_t *signals)
{
    int signal;

    while (sigwait(signals, &signal) != 0)
        ;
}

static bool run(const struct options *options, struct world *world, const sigset_t *signals,
                struct error *err)
{
    CLEANUP(server_freep) struct server *server = NULL;

    if (!server_start(options->listen, world, &server, err))
        return false;
    if (options->port_file && !write_port(options->port_file, server_port(server), err))
        return false;
    (void)printf("klaviyo-simulator listening on http://127.0.0.1:%u\n",
                 (unsigned)server_port(server));
    (void)fflush(stdout);
    wait_for_end(signals);
    return true;
}

/* Blocked before the first thread, so that only wait_for_end() ever sees them. */
static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct options options = { .listen = "127.0.0.1:0", .max_diary = 100000 };
    enum next next = read_options(&options, argc, argv);
    struct error err = ERROR_INIT;
    struct world world;
    sigset_t signals;

    if (next != GO_ON)
        return next == STOP_OK ? EXIT_OK : EXIT_USAGE;
    block_signals(&signals);
    json_object_seed(0);
    world_init(&world, (size_t)options.max_diary);
    bool ok = run(&options, &world, &signals, &err);
    world_release(&world);
    if (!ok)
        (void)fprintf(stderr, "klaviyo-simulator: %s\n", err.text);
    if (ok)
        return EXIT_OK;
    return err.kind == ERROR_INPUT ? EXIT_USAGE : EXIT_FAILED;
}
