#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/trace.h"
#include "worker/store/ledger.h"
#include "worker/store/members.h"
#include "worker/store/rejections.h"

/* store/members.h and ledger.h: two streams of one snapshot; and the local rejections. */

enum { MEMBER_TEXT_BYTES = 32 };

struct members {
    struct db *db;
    unsigned segments;
    int at; /* person, segment: those without a well-formed address first */
    struct bytes field;
    char address[MEMBER_TEXT_BYTES], profile_id[MEMBER_TEXT_BYTES], value[MEMBER_TEXT_BYTES];
};

bool members_open(struct members **out, struct db *db, const struct run_task *task,
                  struct error *err)
{
    struct members *members = calloc(1, sizeof *members);

    assert(members);
    members->db = db;
    members->segments = database.exports[task->export_id - 1].segments;
    if (!statement_arrives(db, err) || !statement_is_answered(db, err)) {
        free(members);
        return false;
    }
    *out = members;
    return true;
}

void members_free(struct members *members)
{
    free(members);
}

/* The steps of the stream: people without a well-formed address, then the others, each once
 * for each segment. */
static const struct person *person_of(const struct members *members, int step, int *number)
{
    const struct person *p;
    int segment = step % SEGMENTS;

    *number = step / SEGMENTS % PEOPLE;
    p = &connection_snapshot(members->db)->people[*number];
    bool is_turn = p->well_formed == (step >= SEGMENTS * PEOPLE);
    return is_turn && (members->segments & p->segments) >> segment & 1 ? p : NULL;
}

bool members_count(const struct members *members, struct db *db, int64_t at_most UNUSED, int64_t *n,
                   struct error *err)
{
    int number;

    *n = 0;
    for (int step = 0; step < 2 * SEGMENTS * PEOPLE; step++)
        *n += person_of(members, step, &number) != NULL;
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool members_each_address(const struct members *members, struct db *db, int64_t values_bytes UNUSED,
                          members_address *take, void *opaque, struct error *err)
{
    char address[MEMBER_TEXT_BYTES];
    int number;

    for (int step = 0; step < 2 * SEGMENTS * PEOPLE; step++) {
        if (!person_of(members, step, &number))
            continue;
        person_address(number, address);
        take(opaque, &(struct bytes){ address, strlen(address) });
    }
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool members_start(struct members *members, bool large UNUSED, struct error *err)
{
    return statement_arrives(members->db, err) && statement_is_answered(members->db, err);
}

static struct bytes field_of(const char *text)
{
    return (struct bytes){ text, strlen(text) };
}

enum members_next members_next(struct members *members, struct member *member, struct error *err)
{
    const struct person *p = NULL;
    int number;

    if (!db_is_up(members->db)) {
        (void)error_set(err, ERROR_RETRY, "the connection is gone");
        return MEMBERS_ERROR;
    }
    while (!p && members->at < 2 * SEGMENTS * PEOPLE)
        p = person_of(members, members->at++, &number);
    if (!p)
        return MEMBERS_END;
    (void)snprintf(members->address, MEMBER_TEXT_BYTES,
                   p->well_formed ? "p%02d@x.example" : "a%02d", number);
    (void)snprintf(members->profile_id, MEMBER_TEXT_BYTES, "%02d", number);
    (void)snprintf(members->value, MEMBER_TEXT_BYTES, "\"v%d\"", p->value);
    members->field = field_of(members->value);
    *member = (struct member){ .profile_id = field_of(members->profile_id),
                               .address = field_of(members->address),
                               .fields = &members->field };
    return MEMBERS_ROW;
}

/* ---- the ledger ---- */

struct ledger {
    struct db *db;
    const struct run_task *task;
    int at;
    char address[MEMBER_TEXT_BYTES];
};

bool ledger_open(struct ledger **out, struct db *db, const struct run_task *task, struct error *err)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);

    assert(ledger);
    ledger->db = db;
    ledger->task = task;
    if (!statement_arrives(db, err) || !statement_is_answered(db, err)) {
        free(ledger);
        return false;
    }
    *out = ledger;
    return true;
}

bool ledger_is_empty(const struct ledger *ledger)
{
    const struct source_copy *copy = connection_snapshot(ledger->db);

    for (int i = 0; i < PEOPLE; i++)
        if (copy->ledger[ledger->task->export_id - 1][i].known)
            return false;
    return true;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger);
}

/* As store/ledger.c reads a row. */
static void read_entry(const struct ledger *ledger, const struct ledger_entry *entry,
                       struct ledger_row *row)
{
    const struct source_copy *copy = connection_snapshot(ledger->db);
    bool unfinished = copy->unfinished[entry->batch];

    *row = (struct ledger_row){
        .address = field_of(ledger->address),
        .confirmed = !unfinished,
        .listed = entry->listed,
        .rejected = entry->rejected_batch && (entry->rejected_batch == entry->batch ||
                                              (unfinished && entry->batch > entry->rejected_batch)),
        .settled = entry->batch >= ledger->task->first_batch,
        .posted = unfinished && copy->posted[entry->batch],
        .removing = entry->removing,
        .perhaps_listed = entry->perhaps_listed,
        .has_filled = true,
        .filled = entry->filled,
        .fingerprint = entry->fingerprint,
    };
}

enum ledger_next ledger_next(struct ledger *ledger, struct ledger_row *row, struct error *err)
{
    if (!db_is_up(ledger->db)) {
        (void)error_set(err, ERROR_RETRY, "the connection is gone");
        return LEDGER_ERROR;
    }
    while (ledger->at < PEOPLE) {
        int number = ledger->at++;
        const struct ledger_entry *entry =
            &connection_snapshot(ledger->db)->ledger[ledger->task->export_id - 1][number];

        if (!entry->known)
            continue;
        (void)snprintf(ledger->address, MEMBER_TEXT_BYTES, "p%02d@x.example", number);
        read_entry(ledger, entry, row);
        return LEDGER_ROW;
    }
    return LEDGER_END;
}

/* ---- local rejections: only counted ---- */

void local_rejections_init(struct local_rejections *invalid)
{
    invalid->n = 0;
}

void local_rejections_release(struct local_rejections *invalid UNUSED)
{
}

void local_rejections_add(struct local_rejections *invalid, struct bytes email UNUSED,
                          struct bytes profile_id UNUSED, const char *code UNUSED)
{
    invalid->n++;
}

bool local_rejections_write(struct db *db, const struct run_task *task,
                            struct local_rejections *invalid, struct error *err)
{
    if (invalid->n == 0)
        return true;
    if (!statement_arrives(db, err))
        return false;
    invalid->n = 0;
    return database_owned(task) ? statement_is_answered(db, err) : statement_is_refused(db, err);
}
