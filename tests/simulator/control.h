#ifndef SIMULATOR_CONTROL_H
#define SIMULATOR_CONTROL_H

#include "tests/simulator/answer.h"
#include "tests/simulator/request.h"
#include "tests/simulator/world.h"

/*
 * The control side, under /control/: a test sets the scene and asks what
 * happened. No authentication, no limits, no faults, no diary. README.md lists
 * the paths. Takes the lock itself.
 */
void control_answer(struct world *world, const struct request *request, struct answer *answer);

#endif
