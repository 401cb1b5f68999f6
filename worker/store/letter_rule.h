#ifndef WORKER_STORE_LETTER_RULE_H
#define WORKER_STORE_LETTER_RULE_H

/*
 * The rule by which a dead letter is solved: every export that failed has succeeded since,
 * by a full run where the event asked for one, and no trial counts.
 *
 * letters: a query of (nth, run, exports text[], full_refresh); this is a query of
 * (nth, solved). solved: null where that is not known, as the run is not there any more,
 * or not to be seen by this user, or there was none.
 *
 * A letter names the failed run of its first export alone; of the others the newest failed
 * one is as new as that of the letter, or newer.
 *
 * Of each export that a letter names the newest runs are looked up by an index: other runs
 * are not read, however many there are.
 */
#define LETTERS_NEWEST(rule)                                                              \
    "(select r.run_id from klaviyo.run r where r.export_name = n.name and not r.is_trial" \
    " and " rule " order by r.run_id desc limit 1)"
#define LETTERS_SUCCEEDED "r.state in ('succeeded', 'succeeded_with_rejections')"
#define LETTERS_GOOD LETTERS_NEWEST(LETTERS_SUCCEEDED)
#define LETTERS_GOOD_FULL LETTERS_NEWEST("n.by_full and r.full_refresh and " LETTERS_SUCCEEDED)
#define LETTERS_FAILED LETTERS_NEWEST("r.state = 'failed'")

#define LETTERS_SOLVED(letters)                                                            \
    "with letter as (" letters "),"                                                        \
    " named as (select e.name, bool_or(l.full_refresh) as by_full"                         \
    " from letter l cross join unnest(l.exports) as e(name) group by e.name),"             \
    " newest as materialized (select n.name, " LETTERS_GOOD " as good, " LETTERS_GOOD_FULL \
    " as good_full, " LETTERS_FAILED " as failed from named n),"                           \
    " judged as (select nth, run, cardinality(exports) > 0 and not exists ("               \
    " select from unnest(exports) with ordinality as e(name, n)"                           \
    " left join newest on newest.name = e.name"                                            \
    " where coalesce(case when full_refresh then good_full else good end, 0)"              \
    " <= case when n = 1 then run else coalesce(failed, 0) end) as solved"                 \
    " from letter)"                                                                        \
    " select nth, case when solved then true"                                              \
    " when exists (select from klaviyo.run r where r.run_id = judged.run) then false end"  \
    " as solved from judged"

#endif
