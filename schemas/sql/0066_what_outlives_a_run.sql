-- What is compared with the last success outlives its run, and a run that no worker here can open
-- the key of says so, whatever state it is in.

-- -- the last success --------------------------------------------------------------

-- distinct_rows: addresses that it found, for the guard of jumps in size. took: from its first take
-- to its end. Null: not known.
alter table klaviyo.export_success
    add distinct_rows bigint,
    add took interval;

-- Addresses among the members that the pass read with which planning ended.
create function klaviyo.distinct_rows(r klaviyo.run) returns bigint
language sql immutable as $$
    select r.unchanged_rows + r.selected_rows - r.read_rows + coalesce(r.member_rows, r.read_rows)
$$;

-- As before, with what later runs are compared with.
create or replace function klaviyo.run_has_ended() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.write_outcome(new);
    if new.state in ('succeeded', 'succeeded_with_rejections') and new.export_id is not null
       and new.trigger <> 'trial' then
        insert into klaviyo.export_success as s (export_id, run_id, at, members, distinct_rows, took)
        values (new.export_id, new.run_id, new.finished_at, coalesce(new.member_rows, new.read_rows),
                klaviyo.distinct_rows(new), new.finished_at - new.started_at)
        on conflict (export_id) do update
        set run_id = excluded.run_id, at = excluded.at, members = excluded.members,
            distinct_rows = excluded.distinct_rows, took = excluded.took;
    end if;
    return null;
end
$$;
update klaviyo.export_success s
set distinct_rows = klaviyo.distinct_rows(r), took = r.finished_at - r.started_at
from klaviyo.run r where r.run_id = s.run_id;

-- As before; where the last run was deleted, by what is remembered of it.
create or replace function klaviyo.is_short(p_export_id bigint) returns boolean
language sql stable as $$
    select coalesce((select r.finished_at - r.started_at
                     from klaviyo.run r
                     where r.export_id = p_export_id
                       and r.state in ('succeeded', 'succeeded_with_rejections')
                       and not r.is_trial
                     order by r.run_id desc limit 1),
                    (select s.took from klaviyo.export_success s where s.export_id = p_export_id),
                    '0') < interval '1 minute'
       and not exists (
           select from klaviyo.export x
           join klaviyo.connection c using (connection_id)
           join klaviyo.connection d
             on coalesce(d.account_id, d.connection_id::text)
                = coalesce(c.account_id, c.connection_id::text)
           join klaviyo.export y on y.connection_id = d.connection_id
           join klaviyo.run r on r.export_id = y.export_id
           where x.export_id = p_export_id and r.state = 'running' and r.parked_until is null
             and exists (select from klaviyo.connection e
                         join klaviyo.export z using (connection_id)
                         where coalesce(e.account_id, e.connection_id::text)
                               <> coalesce(c.account_id, c.connection_id::text)))
$$;

-- -- a parked run whose key is for another key file ----------------------------------

-- As before, but a worker that has the key file has nothing to do with the wait for it.
create or replace function klaviyo.run_changes_hands() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_is_parked boolean := new.state = 'running' and old.state = 'running'
                           and old.parked_until is not null;
begin
    if v_is_parked then
        new.planned := old.planned;
        new.takes_without_progress := old.takes_without_progress;
    else
        new.attempts := 0;
    end if;
    if not v_is_parked or new.wait_reason = 'key_unreadable' then
        new.wait_reason := null;
        new.wait_detail := null;
        new.wait_since := null;
    end if;
    new.parked_until := null;
    new.taken_at := clock_timestamp();
    new.last_take_id := old.take_id;
    new.take_id := gen_random_uuid();
    return new;
end
$$;

revoke execute on function klaviyo.distinct_rows(klaviyo.run) from public;
grant execute on function klaviyo.distinct_rows(klaviyo.run) to klaviyo_worker, klaviyo_definer;
