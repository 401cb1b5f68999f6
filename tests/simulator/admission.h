#ifndef SIMULATOR_ADMISSION_H
#define SIMULATOR_ADMISSION_H

#include "tests/simulator/call.h"

/*
 * Admission: what is decided about a request before its work is done. In this
 * order: does the path exist, whose key is it, is the account within its
 * limits, are the headers right, may the key do this, and does a fault strike.
 * Afterwards the answer's status is 0 if the work is to be done.
 */
void admission_decide(struct call *call);

/* Adds the rate limit headers that an answer of this status carries. */
void admission_add_headers(struct call *call);

#endif
