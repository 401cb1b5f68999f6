#ifndef SIMULATOR_SERVICE_H
#define SIMULATOR_SERVICE_H

#include "tests/simulator/answer.h"
#include "tests/simulator/request.h"
#include "tests/simulator/world.h"

/*
 * The service: one request in, one answer out. Called without the lock, from
 * any thread; it may sleep if a fault says so. Bodies are parsed outside the
 * lock. The request's body may be taken.
 */
void service_answer(struct world *world, struct request *request, struct answer *answer);

#endif
