#ifndef WORKER_STORE_MEMBERS_H
#define WORKER_STORE_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/copy.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * Members: those of an export's segments, read as one stream, sorted by address, then
 * profile id (both by bytes). Rows without an address stand first. Memory is constant.
 *
 * A member of two segments comes twice, side by side.
 */
struct member {
    struct bytes profile_id;
    struct bytes address;       /* as klaviyo.address_of() has it; null: there is none */
    bool not_a_string;          /* the field is there and no JSON string */
    bool cut_not_ascii;         /* the address was cut, and something in it was not ASCII */
    const struct bytes *fields; /* JSON texts of the export's fields, in their order */
};

struct members;

/*
 * The connection is in a snapshot (db_begin_snapshot), which is its only work until
 * members_free() ends it; it is of use afterwards only if the stream was read to its end.
 * Task and connection outlive it. Here and below ERROR_INPUT: the site's view cannot
 * be read; the text has the SQLSTATE and no value of a row.
 */
bool members_open(struct members **out, struct db *db, const struct run_task *task,
                  struct error *err) MUST_USE;
void members_free(struct members *members);
DEFINE_OWNER(members)

/*
 * How many there are, counted twice where in two segments: at_most of them, or all where
 * that is 0. Asked on another connection, which is in the same snapshot.
 */
bool members_count(const struct members *members, struct db *db, int64_t at_most, int64_t *n,
                   struct error *err) MUST_USE;

/*
 * To `take`, in no order and as often as they come in the stream: each member's address as it
 * is written, with its case and blanks, cut at 255 characters. Null: there is none, or the
 * export's fields have more than values_bytes in all, as texts (a string without its quotes).
 * On another connection, as members_count().
 */
typedef void members_address(void *opaque, const struct bytes *address);
bool members_each_address(const struct members *members, struct db *db, int64_t values_bytes,
                          members_address *take, void *opaque, struct error *err) MUST_USE;

/*
 * Members whose well-formed address is another one than the export's ledger has under their
 * profile id: a change of address that a run would find.
 */
bool members_count_moved(const struct members *members, int64_t *n, struct error *err) MUST_USE;

/* Starts the stream, and does not wait for its first row. large: in parallel, if it pays. */
bool members_start(struct members *members, bool large, struct error *err) MUST_USE;

enum members_next { MEMBERS_ROW, MEMBERS_END, MEMBERS_ERROR };

/* Lends the member until the next call. */
enum members_next members_next(struct members *members, struct member *member, struct error *err)
    MUST_USE;

/* For every transaction that reads in this snapshot. */
extern const char members_settings_sql[];

#endif
