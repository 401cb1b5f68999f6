#include "worker/export/guards.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/utf8.h"

enum { COUNT_FROM_PERCENT = 50 /* chosen: half of the planning then overlaps with the delivery */ };

/* Members that may still come; INT64_MAX / 4 where nobody has counted them: no sum overflows. */
static int64_t rest_of(const struct guards_facts *f)
{
    if (f->read_all)
        return 0;
    if (f->expected < 0)
        return INT64_MAX / 4;
    return f->expected > f->seen ? f->expected - f->seen : 0;
}

/* ---- each guard: can it trip, whatever `rest` more members turn out to be? ---- */

static bool exceeds_limit(int64_t max_profiles, const struct guards_facts *f, int64_t rest)
{
    return f->distinct + rest > max_profiles;
}

/* invalid / read > percent / 100, without a product that overflows. */
static bool is_share_above(int64_t invalid, int64_t read, int64_t percent)
{
    return (double)invalid * 100.0 > (double)percent * (double)read;
}

/*
 * Each invalid member is one of the doubtful. These may be too many by any number: a profile
 * of two segments, and one that a view has twice, is counted twice, and read once.
 */
static int64_t rest_invalid(const struct guards_facts *f, int64_t rest)
{
    int64_t doubtful = f->doubtful > f->invalid ? f->doubtful - f->invalid : 0;

    return f->doubt_counted && doubtful < rest ? doubtful : rest;
}

/* The worst that can come are invalid ones alone. */
static bool has_too_many_invalid(const struct guard_rules *r, const struct guards_facts *f,
                                 int64_t rest)
{
    int64_t bad = rest_invalid(f, rest);

    return f->invalid + bad >= GUARDS_INVALID_FROM &&
           is_share_above(f->invalid + bad, f->read + bad, r->max_invalid_percent);
}

static bool has_grown(int64_t last, int64_t distinct)
{
    return distinct >= GUARDS_SIZE_FROM && distinct > 2 * last;
}

static bool has_shrunk(int64_t last, int64_t distinct)
{
    return last >= GUARDS_SIZE_FROM && distinct < last && last - distinct > distinct;
}

static bool has_jumped(const struct guard_rules *r, const struct guards_facts *f, int64_t rest)
{
    return r->size_guard && r->last_distinct > 0 &&
           (has_grown(r->last_distinct, f->distinct + rest) ||
            has_shrunk(r->last_distinct, f->distinct));
}

static bool exceeds_plan(const struct guards_facts *f, int64_t rest)
{
    if (f->fresh + rest == 0 || f->plan == GUARDS_UNKNOWN)
        return false;
    return f->plan == GUARDS_UNASKED ||
           (f->plan_maximum >= 0 && f->fresh + rest > f->plan_maximum - f->plan_used);
}

static bool is_over_plan(const struct guard_rules *r, const struct guards_facts *f, int64_t rest)
{
    return r->plan == GUARD_PLAN_STOP && exceeds_plan(f, rest);
}

static bool starts_flows(const struct guard_rules *r, const struct guards_facts *f, int64_t rest)
{
    if (r->flows_known || f->flows == GUARDS_UNKNOWN || f->fresh + rest <= GUARDS_FLOWS_OVER)
        return false;
    return f->flows == GUARDS_UNASKED || f->live_flows > 0;
}

typedef bool can_trip(const struct guard_rules *r, const struct guards_facts *f, int64_t rest);

static can_trip *const guards[GUARDS_N] = {
    [GUARD_TOO_MANY_INVALID] = has_too_many_invalid,
    [GUARD_SIZE_JUMPED] = has_jumped,
    [GUARD_OVER_PLAN_LIMIT] = is_over_plan,
    [GUARD_LIST_STARTS_FLOWS] = starts_flows,
};

static unsigned that_can_trip(const struct guard_rules *rules, const struct guards_facts *facts)
{
    unsigned set = 0;

    if (rules->trial || rules->passed)
        return 0;
    for (int i = 0; i < GUARDS_N; i++)
        if (!(rules->confirmed & GUARD_BIT(i)) && guards[i](rules, facts, rest_of(facts)))
            set |= GUARD_BIT(i);
    return set;
}

/* ---- in words ---- */

/* What a verdict is about. */
struct judged {
    const struct guard_rules *rules;
    int64_t max_profiles;
    const struct guards_facts *facts;
    const struct guards_names *names;
};

/* Written as far as there is room; what is cut is cut between two characters. */
struct sentence {
    char *text;
    size_t size, len;
};

static void say(struct sentence *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct sentence *s, const char *fmt, ...)
{
    size_t room = s->size - s->len;
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(s->text + s->len, room, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    s->len += (size_t)n < room ? (size_t)n : room - 1;
    while (s->len > 0 && utf8_count(s->text, s->len) < 0)
        s->text[--s->len] = '\0';
}

static void say_limit(struct sentence *s, const struct judged *of)
{
    say(s,
        "%" PRId64 " distinct valid addresses, --max-profiles is %" PRId64 ": raise it with "
        "export update, or choose smaller segments",
        of->facts->distinct, of->max_profiles);
}

static void say_invalid(struct sentence *s, const struct judged *of)
{
    const struct guards_facts *f = of->facts;
    bool first = true;

    say(s,
        "too_many_invalid: %" PRId64 " of %" PRId64
        " members cannot be sent, --max-invalid is %" PRId64 " %%; by the e-mail field %.300s: ",
        f->invalid, f->read, of->rules->max_invalid_percent, of->names->email_field);
    for (size_t i = 0; i < SELECTION_CODES; i++)
        if (f->invalid_by[i] > 0) {
            say(s, "%s%s %" PRId64, first ? "" : ", ", selection_codes[i], f->invalid_by[i]);
            first = false;
        }
}

static void say_jump(struct sentence *s, const struct judged *of)
{
    say(s, "size_jumped: %" PRId64 " distinct addresses, the last run that succeeded had %" PRId64,
        of->facts->distinct, of->rules->last_distinct);
}

static void say_plan(struct sentence *s, const struct guards_facts *f)
{
    say(s,
        "over_plan_limit: %" PRId64 " new addresses, and Klaviyo's plan has room for %" PRId64
        " (%" PRId64 " of %" PRId64 " profiles are used)",
        f->fresh, f->plan_maximum > f->plan_used ? f->plan_maximum - f->plan_used : 0, f->plan_used,
        f->plan_maximum);
}

static void say_flows(struct sentence *s, const struct judged *of)
{
    const struct guards_facts *f = of->facts;

    say(s,
        "list_starts_flows: %" PRId64 " new addresses, and %" PRId64 " live flow%s with being "
        "added to list %s (export update --flows-known says that this is wanted)",
        f->fresh, f->live_flows, f->live_flows == 1 ? " begins" : "s begin", of->names->list_id);
}

static void say_guard(struct sentence *s, enum guard guard, const struct judged *of)
{
    switch (guard) {
    case GUARD_TOO_MANY_INVALID:
        say_invalid(s, of);
        return;
    case GUARD_SIZE_JUMPED:
        say_jump(s, of);
        return;
    case GUARD_OVER_PLAN_LIMIT:
        say_plan(s, of->facts);
        return;
    case GUARD_LIST_STARTS_FLOWS:
        say_flows(s, of);
        return;
    case GUARDS_N:
        break;
    }
}

static void say_all(struct guards_verdict *v, bool over_limit, const struct judged *of)
{
    struct sentence s = { v->detail, sizeof v->detail, 0 };

    if (over_limit)
        say_limit(&s, of);
    for (int i = 0; i < GUARDS_N; i++)
        if (v->tripped & GUARD_BIT(i)) {
            say(&s, "%s", s.len ? "; " : "");
            say_guard(&s, (enum guard)i, of);
        }
    if (!v->tripped)
        return;
    say(&s, ". Where that is right: publish --export %.250s", of->names->export_name);
    for (int i = 0; i < GUARDS_N; i++)
        if (v->tripped & GUARD_BIT(i))
            say(&s, " --confirm %s", guard_name((enum guard)i));
}

/* ---- the decision ---- */

static enum run_reason reason_of(bool over_limit, unsigned tripped)
{
    int i = 0;

    if (over_limit)
        return REASON_OVER_PROFILE_LIMIT;
    while (i < GUARDS_N - 1 && !(tripped & GUARD_BIT(i)))
        i++;
    return guard_reason((enum guard)i);
}

/* Whether an answer of Klaviyo is missing that the decision needs. */
static bool waits_for_answer(unsigned set, bool over_limit, const struct guards_facts *f)
{
    return !over_limit &&
           ((set & GUARD_BIT(GUARD_OVER_PLAN_LIMIT) && f->plan == GUARDS_UNASKED) ||
            (set & GUARD_BIT(GUARD_LIST_STARTS_FLOWS) && f->flows == GUARDS_UNASKED));
}

/* If the limit has stopped the run, Klaviyo was not asked: those two are left out. */
static unsigned without_unasked(unsigned set, const struct guards_facts *f)
{
    if (f->plan == GUARDS_UNASKED)
        set &= ~GUARD_BIT(GUARD_OVER_PLAN_LIMIT);
    if (f->flows == GUARDS_UNASKED)
        set &= ~GUARD_BIT(GUARD_LIST_STARTS_FLOWS);
    return set;
}

void guards_judge(const struct guard_rules *rules, int64_t max_profiles,
                  const struct guards_facts *facts, const struct guards_names *names,
                  struct guards_verdict *verdict)
{
    bool over_limit = exceeds_limit(max_profiles, facts, rest_of(facts));
    unsigned set = that_can_trip(rules, facts);

    *verdict = (struct guards_verdict){ .state = GUARDS_UNDECIDED };
    verdict->plan_warned = facts->read_all && rules->plan == GUARD_PLAN_WARN && !rules->trial &&
                           facts->plan == GUARDS_KNOWN && exceeds_plan(facts, 0);
    if (!over_limit && set == 0) {
        verdict->state = GUARDS_PASS;
        return;
    }
    if (!facts->read_all || waits_for_answer(set, over_limit, facts))
        return;
    verdict->state = GUARDS_TRIPPED;
    verdict->tripped = without_unasked(set, facts);
    verdict->reason = reason_of(over_limit, verdict->tripped);
    if (names)
        say_all(verdict, over_limit, &(struct judged){ rules, max_profiles, facts, names });
}

enum guards_count guards_want_count(const struct guard_rules *rules, bool sends_all)
{
    if (rules->trial || rules->passed || rules->confirmed & GUARD_BIT(GUARD_TOO_MANY_INVALID))
        return GUARDS_COUNT_MEMBERS;
    if (sends_all)
        return GUARDS_COUNT_DOUBTFUL;
    return rules->max_invalid_percent >= COUNT_FROM_PERCENT ? GUARDS_COUNT_MEMBERS
                                                            : GUARDS_COUNT_NOTHING;
}

/* Nothing is asked where the limit stops the run: it fails before its first request. */
struct guards_questions guards_questions(const struct guard_rules *rules, int64_t max_profiles,
                                         const struct guards_facts *facts)
{
    struct guards_questions ask = { false, false, false };
    bool may_be_over = exceeds_limit(max_profiles, facts, rest_of(facts));

    if (rules->trial || rules->passed || may_be_over)
        return ask;
    ask.plan_needed = rules->plan == GUARD_PLAN_STOP && facts->fresh > 0 &&
                      !(rules->confirmed & GUARD_BIT(GUARD_OVER_PLAN_LIMIT));
    ask.plan = ask.plan_needed ||
               (rules->plan == GUARD_PLAN_WARN && facts->fresh >= GUARDS_PLAN_WARN_FROM);
    ask.flows = facts->fresh > GUARDS_FLOWS_OVER && !rules->flows_known &&
                !(rules->confirmed & GUARD_BIT(GUARD_LIST_STARTS_FLOWS));
    return ask;
}
