/*
 * mock-broker: librdkafka's mock cluster as a program of its own.
 *
 *     mock-broker --port-file FILE [--topic NAME:PARTITIONS]...
 *
 * One broker on a free port of the loopback interface, for the demo: it speaks
 * enough of the protocol for producers and consumer groups, keeps everything
 * in memory and forgets it when it ends. Once it listens it writes its port to
 * FILE (whole, by rename) and says so on stdout. It ends on SIGTERM or SIGINT.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
/* It wants rdkafka.h before it. */
#include <librdkafka/rdkafka_mock.h>

#include "common/parse.h"

enum { MAX_TOPICS = 32, MAX_PARTITIONS = 1000, EXIT_USAGE = 2 };

struct topic {
    const char *name; /* points into argv */
    int partitions;
};

struct options {
    const char *port_file;
    struct topic topics[MAX_TOPICS];
    size_t topics_n;
};

static void print_usage(FILE *out)
{
    (void)fputs("Usage: mock-broker --port-file FILE [--topic NAME:PARTITIONS]...\n"
                "\n"
                "A Kafka broker in memory on a free port of the loopback interface.\n"
                "It writes the port to FILE and ends on SIGTERM.\n",
                out);
}

static bool complain(const char *what, const char *value)
{
    (void)fprintf(stderr, "mock-broker: %s: %s\n", what, value);
    return false;
}

/* Cuts NAME:PARTITIONS in place. */
static bool parse_topic(char *text, struct topic *topic)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return complain("--topic wants NAME:PARTITIONS, not", text);

    int64_t partitions;
    if (!parse_int64(colon + 1, 1, MAX_PARTITIONS, &partitions))
        return complain("--topic wants a number of partitions from 1 to 1000, not", colon + 1);

    *colon = '\0';
    *topic = (struct topic){ .name = text, .partitions = (int)partitions };
    return true;
}

static bool add_topic(struct options *options, char *text)
{
    if (options->topics_n == MAX_TOPICS)
        return complain("too many topics, first one left out", text);
    if (!parse_topic(text, &options->topics[options->topics_n]))
        return false;
    options->topics_n++;
    return true;
}

static bool parse_options(int argc, char *argv[], struct options *options)
{
    static const struct option known[] = {
        { "port-file", required_argument, NULL, 'p' },
        { "topic", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'h') {
            print_usage(stdout);
            exit(EXIT_SUCCESS);
        }
        if (c == 'p')
            options->port_file = optarg;
        else if (c != 't' || !add_topic(options, optarg))
            return false;
    }
    if (optind < argc)
        return complain("does not know what to do with", argv[optind]);
    if (!options->port_file)
        return complain("wants", "--port-file FILE");
    return true;
}

/* Every thread of librdkafka inherits the mask, so that sigwait() gets the signal. */
static void block_signals(sigset_t *ends)
{
    sigemptyset(ends);
    sigaddset(ends, SIGTERM);
    sigaddset(ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, ends, NULL);
}

static bool create_topics(rd_kafka_mock_cluster_t *cluster, const struct options *options)
{
    for (size_t i = 0; i < options->topics_n; i++) {
        const struct topic *topic = &options->topics[i];
        rd_kafka_resp_err_t code =
            rd_kafka_mock_topic_create(cluster, topic->name, topic->partitions, 1);
        if (code)
            return complain(topic->name, rd_kafka_err2str(code));
    }
    return true;
}

static bool write_port_file(const char *path, const char *port)
{
    char draft[4096];
    int n = snprintf(draft, sizeof draft, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof draft)
        return complain("path too long", path);

    FILE *file = fopen(draft, "we");
    if (!file)
        return complain("cannot write", draft);
    bool written = fprintf(file, "%s\n", port) > 0;
    if (fclose(file) != 0 || !written || rename(draft, path) != 0)
        return complain("cannot write", path);
    return true;
}

static bool serve(rd_kafka_mock_cluster_t *cluster, const struct options *options,
                  const sigset_t *ends)
{
    const char *address = rd_kafka_mock_cluster_bootstraps(cluster);
    const char *colon = strrchr(address, ':');
    int ended_by;

    if (!create_topics(cluster, options))
        return false;
    if (!colon || !write_port_file(options->port_file, colon + 1))
        return false;
    (void)printf("mock-broker listening on %s\n", address);
    (void)fflush(stdout);
    return sigwait(ends, &ended_by) == 0;
}

/* The cluster lives inside a client handle that is not used for anything else. */
static bool run(const struct options *options, const sigset_t *ends)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "log_level", "3", NULL, 0); /* it warns of having no broker */
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!host) {
        rd_kafka_conf_destroy(conf);
        return complain("cannot start librdkafka", why);
    }

    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    bool served =
        cluster ? serve(cluster, options, ends) : complain("cannot start", "the mock cluster");
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    return served;
}

int main(int argc, char *argv[])
{
    struct options options = { 0 };
    sigset_t ends;

    if (!parse_options(argc, argv, &options)) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    block_signals(&ends);
    return run(&options, &ends) ? EXIT_SUCCESS : EXIT_FAILURE;
}
