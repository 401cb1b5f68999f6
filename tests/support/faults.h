#ifndef TESTS_SUPPORT_FAULTS_H
#define TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Calls that fail when a test says so.
 *
 * What is linked with faults.c and the linker's --wrap (fail_calls() in tests/CMakeLists.txt)
 * has the calls of our own objects, of the C library and of every other library that can
 * fail, go through here; libraries' own calls do not. Allocations are one fault, "memory",
 * whichever function makes them, jansson's and curl's among them.
 *
 * A unit test arms a fault itself. In a program, FAULTS_FILE names a file that holds the
 * table, shared with whoever runs it: see tests/support/faults.py.
 */
enum { FAULT_NAME_BYTES = 48, FAULT_WAYS = 1024 };

struct fault_way {
    uint64_t way;  /* stands for the functions that led to the call; 0: free */
    uint64_t call; /* the number of the first that came so */
};

struct fault {
    char name[FAULT_NAME_BYTES];
    uint64_t calls;   /* so far, by all threads */
    uint64_t fail_at; /* the number of the first call that fails; 0: none */
    uint64_t times;   /* how many fail from there on; of clock_gettime see there */
    uint64_t failed;  /* how many have */
    uint64_t where;   /* where that returns to, counted from the start of the program */
    struct fault_way ways[FAULT_WAYS];
};

enum { FAULT_FOR_EVER = INT32_MAX };

/* From now on the call number `nth` (from 1) of the fault fails, and `times` - 1 after it. */
void fault_arm(const char *name, uint64_t nth, uint64_t times);

/* None fails any more. Whether one has since fault_arm(). */
bool fault_disarm(const char *name);

#endif
