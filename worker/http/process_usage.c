#include "worker/http/process_usage.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/parse.h"

static int64_t time_us(const struct timeval *time)
{
    return (int64_t)time->tv_sec * 1000000 + time->tv_usec;
}

static int64_t cpu_us(void)
{
    struct rusage used;

    if (getrusage(RUSAGE_SELF, &used) != 0)
        return -1;
    return time_us(&used.ru_utime) + time_us(&used.ru_stime);
}

/* The next number of the text, in pages, as bytes; -1: there is none. */
static int64_t next_pages(char **rest)
{
    char *word = strsep(rest, " ");
    int64_t pages;

    if (!word || !parse_int64(word, 0, INT64_MAX / 65536, &pages))
        return -1;
    return pages * sysconf(_SC_PAGESIZE);
}

/* /proc/self/statm begins with all pages and those in memory. */
static void read_memory(struct process_usage *usage)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[256];

    usage->virtual_bytes = usage->resident_bytes = -1;
    if (!file)
        return;
    char *rest = fgets(line, sizeof line, file);
    (void)fclose(file);
    usage->virtual_bytes = next_pages(&rest);
    usage->resident_bytes = next_pages(&rest);
}

/* Without the descriptor that reads the folder, "." and "..". */
static int64_t count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int64_t n = -3;

    if (!folder)
        return -1;
    /* cppcheck-suppress readdirCalled ; readdir_r is deprecated, and the stream is ours alone */
    while (readdir(folder)) /* NOLINT(concurrency-mt-unsafe): a stream of this thread */
        n++;
    (void)closedir(folder);
    return n;
}

static int64_t limit_of_fds(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT64_MAX)
        return -1;
    return (int64_t)limit.rlim_cur;
}

void process_usage(struct process_usage *usage)
{
    usage->cpu_us = cpu_us();
    read_memory(usage);
    usage->open_fds = count_fds();
    usage->max_fds = limit_of_fds();
}
