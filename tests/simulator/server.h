#ifndef SIMULATOR_SERVER_H
#define SIMULATOR_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "tests/simulator/world.h"

/*
 * The HTTP server: one thread for each connection, so that an answer that is
 * to come late makes only its own client wait.
 */
struct server;

/* listen: "127.0.0.1:0", port 0 for any free one. The world is lent until server_free(). */
bool server_start(const char *listen, struct world *world, struct server **out, struct error *err)
    MUST_USE;

uint16_t server_port(const struct server *server);

/* Ends every connection; returns when no thread is left. */
void server_free(struct server *server);

DEFINE_OWNER(server)

#endif
