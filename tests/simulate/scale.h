#ifndef TESTS_SIMULATE_SCALE_H
#define TESTS_SIMULATE_SCALE_H

/*
 * How large the simulated world is: small enough for hundreds of schedules a second, large
 * enough that everything meets everything else.
 */
enum {
    PROCESSES = 3,
    SLOTS = 2,
    PARTITIONS = 2,
    SEGMENTS = 3,
    EXPORTS = 3,
    ACCOUNTS = 2, /* each with one connection */
    LISTS = 3,
    PEOPLE = 10,
    ROWS_PER_BATCH = 3,

    LEASE_MS = 2000,
    RETRY_BUDGET_MS = 40 * 1000,
    REQUEST_TIMEOUT_MS = 3000,
    POLL_MIN_MS = 200,
    POLL_MAX_MS = 1500,
    DRAIN_MS = 3000,
};

#endif
