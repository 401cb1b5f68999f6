#ifndef WORKER_HTTP_PROCESS_USAGE_H
#define WORKER_HTTP_PROCESS_USAGE_H

#include <stdint.h>

/*
 * What this process uses, according to the kernel. A value that it does not report is
 * -1.
 */
struct process_usage {
    int64_t cpu_us; /* user and system, since the start */
    int64_t resident_bytes;
    int64_t virtual_bytes;
    int64_t open_fds;
    int64_t max_fds;
};

/* Asks the kernel; never fails as a whole. Any thread. */
void process_usage(struct process_usage *usage);

#endif
