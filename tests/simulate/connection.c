#include "tests/simulate/connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"
#include "tests/simulate/trace.h"

enum { CONNECTIONS_MAX = 512, USUAL_MS = 3 };

struct db {
    bool up, listens, cancelled, under_way;
    int fd;
    int64_t restarts; /* of the server, when it was opened */
    struct source_copy *copy;
    void *pending;
};

static struct db *connections[CONNECTIONS_MAX];
static int break_permille;
static int64_t away_until_ms, restarts;

void connections_begin(void)
{
    memset(connections, 0, sizeof connections);
    break_permille = 0;
    away_until_ms = 0;
    restarts = 0;
}

void connections_break(int permille)
{
    break_permille = permille;
}

void connections_are_away(int64_t ms)
{
    trace("the database is away for %d ms", (int)ms);
    away_until_ms = fiber_now_ms() + ms;
    restarts++;
}

static bool is_away(void)
{
    return fiber_now_ms() < away_until_ms;
}

void connections_notify(void)
{
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i] && connections[i]->listens && connections[i]->up)
            descriptor_raise(connections[i]->fd);
}

void database_notify(void)
{
    connections_notify();
}

/* ---- statements ---- */

static bool is_cut(struct db *db, struct error *err)
{
    db->up = false;
    return error_set(err, ERROR_RETRY, "the connection to the database is gone");
}

static bool breaks(const struct db *db)
{
    return is_away() || db->restarts != restarts || dice_chance(break_permille);
}

bool statement_arrives(struct db *db, struct error *err)
{
    struct process *process = fiber_process();

    if (!db->up || process->dead)
        return is_cut(db, err);
    db->cancelled = false;
    db->under_way = true;
    fiber_travel(dice_delay_ms(USUAL_MS));
    db->under_way = false;
    if (db->cancelled)
        return error_set(err, ERROR_RETRY, "the statement was cancelled");
    /* Its last words may have been sent. */
    if (breaks(db) || (process->dead && dice(2) == 0))
        return is_cut(db, err);
    return true;
}

bool statement_is_answered(struct db *db, struct error *err)
{
    fiber_sleep(dice_delay_ms(USUAL_MS));
    return (!fiber_process()->dead && !breaks(db)) || is_cut(db, err);
}

bool statement_is_refused(struct db *db, struct error *err)
{
    return statement_is_answered(db, err) &&
           error_set(err, ERROR_LOST, "the run is no longer this worker's");
}

/* ---- connections, as store/db.h has them ---- */

static bool server_is_reached(struct error *err)
{
    fiber_sleep(dice_delay_ms(USUAL_MS));
    return (!fiber_process()->dead && !is_away()) ||
           error_set(err, ERROR_RETRY, "the database cannot be reached");
}

static void put_up(struct db *db)
{
    db->up = true;
    db->restarts = restarts;
}

static struct db *add_connection(void)
{
    struct db *db = calloc(1, sizeof *db);
    int place = 0;

    assert(db);
    while (connections[place])
        place++;
    assert(place < CONNECTIONS_MAX);
    connections[place] = db;
    db->fd = descriptor_new();
    put_up(db);
    return db;
}

bool db_open_together(struct db **const out[], size_t n, const struct db_options *options UNUSED,
                      struct error *err)
{
    if (!server_is_reached(err))
        return false;
    for (size_t i = 0; i < n; i++)
        *out[i] = add_connection();
    return true;
}

bool db_open(struct db **out, const struct db_options *options, struct error *err)
{
    struct db **const outs[] = { out };

    return db_open_together(outs, 1, options, err);
}

static void end_snapshot(struct db *db)
{
    free(db->copy);
    db->copy = NULL;
}

void db_free(struct db *db)
{
    for (int i = 0; db && i < CONNECTIONS_MAX; i++)
        if (connections[i] == db)
            connections[i] = NULL;
    if (!db)
        return;
    end_snapshot(db);
    free(db->pending);
    free(db);
}

bool db_ready(struct db *db, struct error *err)
{
    if (db->up)
        return true;
    if (!server_is_reached(err))
        return false;
    put_up(db);
    return true;
}

bool db_is_up(const struct db *db)
{
    return db->up;
}

void db_set_lock_timeout(struct db *db UNUSED, int64_t ms UNUSED)
{
}

void db_set_response_timeout(struct db *db UNUSED, int64_t ms UNUSED)
{
}

bool db_was_blocked(const struct db *db UNUSED)
{
    return false;
}

bool db_listen(struct db *db, const char *channel UNUSED, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    db->listens = true;
    return statement_is_answered(db, err);
}

int db_socket(const struct db *db)
{
    return db && db->up && db->listens ? db->fd : -1;
}

bool db_notified(struct db *db)
{
    if (db->restarts != restarts)
        db->up = false;
    return descriptor_lower(db->fd);
}

bool db_backend(struct db *db, int32_t *backend, struct error *err)
{
    *backend = 1;
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

/* ---- snapshots ---- */

static struct source_copy *take_copy(void)
{
    struct source_copy *copy = malloc(sizeof *copy);

    assert(copy);
    memcpy(copy->people, people, sizeof people);
    memcpy(copy->ledger, database.ledger, sizeof database.ledger);
    for (int64_t i = 1; i <= database.n_batches; i++) {
        const struct outbox_row *b = &database.batches[i];

        copy->unfinished[i] = b->state != BATCH_NONE && b->state != BATCH_COMPLETE;
        copy->posted[i] = b->state != BATCH_PLANNED || b->posted_ms;
    }
    return copy;
}

static struct source_copy *copy_of(const struct source_copy *from)
{
    struct source_copy *copy = malloc(sizeof *copy);

    assert(copy);
    memcpy(copy, from, sizeof *copy);
    return copy;
}

bool db_begin_snapshot(struct db *db, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    end_snapshot(db);
    db->copy = take_copy();
    return statement_is_answered(db, err);
}

/* The snapshot's name is its connection's. */
bool db_export_snapshot(struct db *db, char snapshot[SNAPSHOT_BYTES], struct error *err)
{
    (void)snprintf(snapshot, SNAPSHOT_BYTES, "%d", db->fd);
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool db_join_snapshot(struct db *db, const char *snapshot, struct error *err)
{
    char name[SNAPSHOT_BYTES];

    end_snapshot(db);
    for (int i = 0; i < CONNECTIONS_MAX && !db->copy; i++) {
        if (!connections[i] || !connections[i]->copy)
            continue;
        (void)snprintf(name, sizeof name, "%d", connections[i]->fd);
        if (strcmp(name, snapshot) == 0)
            db->copy = copy_of(connections[i]->copy);
    }
    must(db->copy != NULL, "a snapshot is joined that is not there");
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

const struct source_copy *connection_snapshot(const struct db *db)
{
    return db->copy;
}

void **connection_pending(struct db *db)
{
    return &db->pending;
}

bool db_savepoint(struct db *db, struct error *err)
{
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

void db_undo_to_savepoint(struct db *db UNUSED)
{
}

/* ---- cancellers ---- */

struct db_canceller {
    struct db *db;
};

struct db_canceller *db_canceller_new(const struct db *db)
{
    struct db_canceller *canceller = malloc(sizeof *canceller);

    assert(canceller);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i] == db)
            canceller->db = connections[i];
    return canceller;
}

void db_canceller_fire(struct db_canceller *canceller)
{
    if (canceller->db->under_way)
        canceller->db->cancelled = true;
}

void db_canceller_free(struct db_canceller *canceller)
{
    free(canceller);
}
