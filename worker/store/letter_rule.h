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
 */
#define LETTERS_SOLVED(letters)                                                           \
    "with newest as (select r.export_name as name,"                                       \
    " max(r.run_id) filter (where r.state in ('succeeded', 'succeeded_with_rejections'))" \
    " as good,"                                                                           \
    " max(r.run_id) filter (where r.state in ('succeeded', 'succeeded_with_rejections')"  \
    " and r.full_refresh) as good_full,"                                                  \
    " max(r.run_id) filter (where r.state = 'failed') as failed"                          \
    " from klaviyo.run r where not r.is_trial group by r.export_name),"                   \
    " letter as (" letters "),"                                                           \
    " judged as (select nth, run, cardinality(exports) > 0 and not exists ("              \
    " select from unnest(exports) with ordinality as e(name, n)"                          \
    " left join newest on newest.name = e.name"                                           \
    " where coalesce(case when full_refresh then good_full else good end, 0)"             \
    " <= case when n = 1 then run else coalesce(failed, 0) end) as solved"                \
    " from letter)"                                                                       \
    " select nth, case when solved then true"                                             \
    " when exists (select from klaviyo.run r where r.run_id = judged.run) then false end" \
    " as solved from judged"

#endif
