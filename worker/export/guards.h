#ifndef WORKER_EXPORT_GUARDS_H
#define WORKER_EXPORT_GUARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/export/selection.h"
#include "worker/store/guard.h"

/*
 * The guards of a run: may it begin to import? (pure: facts in, decision out)
 *
 * Facts only grow while the plan reads, so the answer is UNDECIDED until either
 * nothing that may still come can trip a guard (PASS: planning and delivery
 * overlap from here on), or all is read and known. A guard trips only then, with
 * the final numbers in its sentence, and no import was begun.
 *
 * The figures that guards begin at are the contract's.
 */
enum {
    GUARDS_INVALID_FROM = 100,    /* fewer invalid members never trip too_many_invalid */
    GUARDS_SIZE_FROM = 1000,      /* addresses, now or in the last run, from which a jump counts */
    GUARDS_FLOWS_OVER = 1000,     /* more new addresses trip list_starts_flows */
    GUARDS_PLAN_WARN_FROM = 1000, /* chosen: from this many on a warning is worth a request */
    GUARDS_DETAIL_BYTES = 1400,
};

/* What Klaviyo says where it is asked. */
enum guards_known {
    GUARDS_UNASKED, /* not yet, or the response is not there */
    GUARDS_UNKNOWN, /* the key may not read it, or the response says nothing */
    GUARDS_KNOWN,
};

struct guards_facts {
    int64_t expected; /* members at most, one of two segments counted twice; -1: not counted yet */
    bool doubt_counted;
    int64_t doubtful; /* of the expected, where counted: may be invalid; no other is */
    int64_t seen;     /* of those, so far */
    bool read_all;    /* the numbers are final */
    int64_t read, invalid, distinct; /* members as they are now, and their addresses */
    int64_t fresh;                   /* of the distinct: not on the list by this export yet */
    int64_t invalid_by[SELECTION_CODES];

    enum guards_known plan;
    int64_t plan_used, plan_maximum; /* profiles; maximum -1: no limit */
    enum guards_known flows;
    int64_t live_flows; /* that begin with being added to the list */
};

/* What an export is called, for the sentences. Lent. */
struct guards_names {
    const char *export_name;
    const char *list_id;
    const char *email_field; /* as people write it */
};

enum guards_state { GUARDS_UNDECIDED, GUARDS_PASS, GUARDS_TRIPPED };

struct guards_verdict {
    enum guards_state state;
    unsigned tripped;       /* set of guards; empty unless TRIPPED */
    enum run_reason reason; /* over_profile_limit, or the first tripped guard's; else NONE */
    char detail[GUARDS_DETAIL_BYTES]; /* all that tripped, each with its numbers; UTF-8 */
    bool plan_warned; /* all is read, and the new addresses may not fit into the plan */
};

/*
 * max_profiles: as the export has it. Over it nothing is confirmed, and neither a trial
 * nor a run that began to import before it was taken again is an exception: it counts
 * the members as they are now. names may be NULL where no sentence is wanted.
 */
void guards_judge(const struct guard_rules *rules, int64_t max_profiles,
                  const struct guards_facts *facts, const struct guards_names *names,
                  struct guards_verdict *verdict);

/*
 * What is worth counting of many members before they are read: what lets PASS come while they
 * are. Where nobody is counted as doubtful, the rest may be invalid, and four fifths must be
 * seen by default. Counting the doubtful costs more than half of the sort, which pays where all are
 * new (sends_all), so that imports can begin with the first of them; in a refresh that changes
 * little the first batch is full late, or at the end.
 */
enum guards_count { GUARDS_COUNT_NOTHING, GUARDS_COUNT_MEMBERS, GUARDS_COUNT_DOUBTFUL };
enum guards_count guards_want_count(const struct guard_rules *rules, bool sends_all);

/*
 * What Klaviyo is to be asked, since it may decide. needed: the first import waits
 * for the answer; else only a warning does.
 */
struct guards_questions {
    bool plan, flows;
    bool plan_needed;
};
struct guards_questions guards_questions(const struct guard_rules *rules, int64_t max_profiles,
                                         const struct guards_facts *facts);

#endif
