-- Runs that cannot go on say so, and slots hold work, not waits.
--
-- A run that waits for its account's limit or for Klaviyo to come back says why
-- and since when. One that has nothing to do for a while is parked: its owner
-- gives the slot back, all that it knows is in the database, and when the wait is
-- over any worker goes on with it, without planning again.
alter table klaviyo.run
    add wait_reason text check (wait_reason in ('rate_limited', 'klaviyo_unavailable',
                                                'database_unavailable')),
    add wait_detail text,
    add wait_since timestamptz,
    add wait_logged_at timestamptz, -- once a minute, whoever owns it
    add parked_until timestamptz,
    add taken_at timestamptz,
    add attempts integer not null default 0; -- in vain, in a row, when it was parked
create index on klaviyo.run (parked_until) where parked_until is not null;

-- A parked run that is taken goes on as it was; any other take begins anew.
create function klaviyo.run_changes_hands() returns trigger
language plpgsql as $$
begin
    if new.state = 'running' and old.state = 'running' and old.parked_until is not null then
        new.planned := old.planned;
        new.takes_without_progress := old.takes_without_progress;
    else
        new.wait_reason := null;
        new.wait_detail := null;
        new.wait_since := null;
        new.attempts := 0;
    end if;
    new.parked_until := null;
    new.taken_at := clock_timestamp();
    return new;
end
$$;
create trigger run_changes_hands before update of epoch on klaviyo.run
    for each row when (new.epoch is distinct from old.epoch)
    execute function klaviyo.run_changes_hands();

-- A parked run whose wait is over. Not while a queued run waits of an account
-- that has less going on, or as much and was served before: one account that is
-- throttled or down must not keep the others out.
create function klaviyo.parked_run(p_key_pair integer) returns bigint
language sql as $$
    with open as (
        select r.run_id, r.export_id, r.state, r.parked_until,
               coalesce(c.account_id, c.connection_id::text) as account,
               coalesce(k.key_pair_id, p_key_pair) = p_key_pair
               or c.attention_reason is not null as usable
        from klaviyo.run r
        left join klaviyo.export x using (export_id)
        left join klaviyo.connection c using (connection_id)
        left join klaviyo.connection_key k using (connection_id)
        where r.state in ('queued', 'running')),
    served as (
        select o.account, count(*) filter (where o.state = 'running' and o.parked_until is null) as runs,
               coalesce(max(r.taken_at), '-infinity') as at
        from open o
        left join klaviyo.run r on r.export_id = o.export_id
                                   and r.taken_at > clock_timestamp() - interval '1 hour'
        group by o.account)
    select r.run_id from klaviyo.run r
    join open o using (run_id)
    left join served s on s.account = o.account
    where r.state = 'running' and r.parked_until < clock_timestamp() and o.usable
      and not exists (
          select from open q left join served t on t.account = q.account
          where q.state = 'queued' and q.usable and q.account <> o.account
            and not exists (select from klaviyo.run w
                            where w.export_id = q.export_id and w.state = 'running')
            and (t.runs, t.at) < (s.runs, s.at))
    order by r.parked_until
    limit 1 for update of r skip locked
$$;

-- As before; a parked run has left its worker by its own will.
create or replace function klaviyo.abandoned_run(p_key_pair integer) returns bigint
language plpgsql as $$
declare
    v_run_id bigint;
begin
    select r.run_id into v_run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    where r.state = 'running' and r.lease_until < clock_timestamp() and r.parked_until is null
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
    order by r.lease_until
    limit 1 for update of r skip locked;
    if v_run_id is null and exists (select from klaviyo.run r
                                    where r.parked_until < clock_timestamp()) then
        v_run_id := klaviyo.parked_run(p_key_pair);
    end if;
    return v_run_id;
end
$$;

-- An export that a worker's last free slot may run: its last run was short, or
-- it never had one that says how long it takes. Where several accounts have
-- exports, the last slot is for one that has nothing going on: an account that
-- answers slowly must not hold them all.
create or replace function klaviyo.is_short(p_export_id bigint) returns boolean
language sql stable as $$
    select coalesce((select r.finished_at - r.started_at < interval '1 minute'
                     from klaviyo.run r
                     where r.export_id = p_export_id
                       and r.state in ('succeeded', 'succeeded_with_rejections')
                     order by r.run_id desc limit 1), true)
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

-- A run as people and programs see it. waiting: nothing can be done before
-- waiting_until, while Klaviyo or the database is away, or its worker is gone.
create or replace function klaviyo.shown_state(r klaviyo.run) returns text
language sql stable as $$
    select case when r.state = 'running' and (r.waiting_until > clock_timestamp()
                                              or r.wait_reason is not null
                                              or r.lease_until < clock_timestamp())
                then 'waiting' else r.state end
$$;

create or replace function klaviyo.run_json(r klaviyo.run) returns json
language sql stable as $$
    select json_build_object(
        'id', r.run_id, 'export', r.export_name, 'connection', r.connection_name,
        'trigger', r.trigger, 'full', r.full_refresh, 'state', klaviyo.shown_state(r),
        'reason', case when r.state = 'running' then r.wait_reason else r.reason end,
        'detail', case when r.state = 'running' then r.wait_detail else r.detail end,
        'queued_at', klaviyo.utc(r.queued_at),
        'started_at', klaviyo.utc(r.started_at), 'finished_at', klaviyo.utc(r.finished_at),
        'waiting_until', case when r.state = 'running' and r.waiting_until > clock_timestamp()
                              then klaviyo.utc(r.waiting_until) end,
        'worker', r.worker,
        'events', (select count(*) from klaviyo.request_run a where a.run_id = r.run_id),
        'counts', json_build_object(
            'read', r.read_rows, 'invalid', r.invalid_rows, 'duplicate', r.duplicate_rows,
            'unchanged', r.unchanged_rows, 'selected', r.selected_rows,
            'accepted', r.accepted_rows, 'rejected', r.rejected_rows, 'left', r.left_rows,
            'removed', r.removed_rows, 'kept', r.kept_rows, 'requests', r.requests,
            'throttled', r.throttled, 'retries', r.retries),
        'requests', r.requests, 'throttled', r.throttled, 'retries', r.retries)
$$;

revoke execute on function klaviyo.run_changes_hands(), klaviyo.parked_run(integer) from public;
grant execute on function klaviyo.parked_run(integer) to klaviyo_worker;
