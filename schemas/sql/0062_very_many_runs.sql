-- What people look at is quick with very many runs, too.

-- The runs of an export by its name, which stays when the export is gone: listings of one
-- export, and what became of dead letters.
create index on klaviyo.run (export_name, run_id);

-- Runs that the caller sees by a role or by a grant: in functions with their owner's rights.
create function klaviyo.is_shown(r klaviyo.run) returns boolean
language sql stable as $$
    select pg_has_role(klaviyo.caller(), 'klaviyo_worker', 'member')
           or pg_has_role(klaviyo.caller(), 'klaviyo_viewer', 'member')
           or klaviyo.may_see(r)
$$;

-- As klaviyo.outlook() had it, for many runs at once: each single one looked at all runs of its
-- account, so that some hundred parked runs took half a minute. Those that do not go on, or that the
-- caller may not see, are left out.
create function klaviyo.outlooks(p_run_ids bigint[]) returns table (run_id bigint, outlook json)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with going_on as materialized (
        select r.run_id, coalesce(c.account_id, 'connection:' || c.connection_id) as account,
               r.run_id = any (p_run_ids) and klaviyo.is_shown(r) as is_asked
        from klaviyo.run r
        join klaviyo.export x using (export_id)
        join klaviyo.connection c using (connection_id)
        where r.state = 'running'),
    account as materialized (
        select a.account,
               greatest(klaviyo.share_of(a.account)
                        * coalesce(klaviyo.pace_of(g, clock_timestamp()), 100) / 100, 1) as percent,
               (select count(*) from klaviyo.rate_place p
                where p.account = a.account and p.endpoint = 'import'
                  and p.steady_until > clock_timestamp()) as used,
               case when g.blocked_until > clock_timestamp()
                    then klaviyo.utc(g.blocked_until) end as blocked_until
        from (select distinct o.account from going_on o where o.is_asked) a
        left join klaviyo.rate_budget g on g.account = a.account and g.endpoint = 'import'),
    loaded as materialized (
        select o.run_id, o.account, o.is_asked,
               count(*) filter (where b.state = 'planned') as planned,
               count(*) filter (where b.state = 'sent') as sent
        from going_on o
        join account a on a.account = o.account
        left join klaviyo.batch b on b.run_id = o.run_id
        group by o.run_id, o.account, o.is_asked)
    select l.run_id, json_build_object(
        'planned', l.planned, 'sent', l.sent,
        'job_ms', (select avg(extract(epoch from j.ended_at - j.posted_at) * 1000)::bigint
                   from (select d.ended_at, d.posted_at from klaviyo.batch d
                         where d.run_id = l.run_id and d.ended_at >= d.posted_at
                         order by d.ended_at desc limit 10) j),
        'others', (select coalesce(sum(least(o.planned, l.planned)), 0) from loaded o
                   where o.account = l.account and o.run_id <> l.run_id),
        'percent', a.percent, 'used', a.used, 'blocked_until', a.blocked_until)
    from loaded l
    join account a on a.account = l.account
    where l.is_asked
$$;

-- As before. Null: the run does not go on.
create or replace function klaviyo.outlook(p_run_id bigint) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select o.outlook from klaviyo.outlooks(array[p_run_id]) o
$$;

-- As before; the members are those that the pass with which planning ended read (0052).
create or replace function klaviyo.run_has_ended() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.write_outcome(new);
    if new.state in ('succeeded', 'succeeded_with_rejections') and new.export_id is not null
       and new.trigger <> 'trial' then
        insert into klaviyo.export_success as s (export_id, run_id, at, members)
        values (new.export_id, new.run_id, new.finished_at, coalesce(new.member_rows, new.read_rows))
        on conflict (export_id) do update
        set run_id = excluded.run_id, at = excluded.at, members = excluded.members;
    end if;
    return null;
end
$$;
update klaviyo.export_success s set members = r.member_rows
from klaviyo.run r where r.run_id = s.run_id and r.member_rows <> s.members;

-- What a queued run waits for whose list another run takes people off: no worker takes it until
-- that has ended (klaviyo.list_is_claimed). Which run that is, for who may see it. Null: nothing.
create function klaviyo.list_wait(p_run_id bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when klaviyo.is_shown(h)
                then format('run %s of export %s takes people off the same list', h.run_id, h.export_name)
                else 'another run takes people off the same list' end
    from klaviyo.run r
    cross join lateral klaviyo.claimers(r.export_id) as k (run_id)
    join klaviyo.run h on h.run_id = k.run_id
    where r.run_id = p_run_id and r.state = 'queued' and h.run_id <> r.run_id and klaviyo.is_shown(r)
    limit 1
$$;

-- As before, with what a queued run waits for.
create or replace function klaviyo.run_json(r klaviyo.run) returns json
language sql stable as $$
    select json_build_object(
        'id', r.run_id, 'export', r.export_name, 'connection', r.connection_name,
        'trigger', r.trigger, 'full', r.full_refresh, 'state', klaviyo.shown_state(r),
        'reason', case when r.state = 'queued'
                       then coalesce(r.wait_reason, case when klaviyo.list_wait(r.run_id) is not null
                                                         then 'list_in_use' end)
                       when r.state = 'running' then r.wait_reason
                       else r.reason end,
        'detail', case when r.state = 'queued' then coalesce(r.wait_detail, klaviyo.list_wait(r.run_id))
                       when r.state = 'running' then r.wait_detail
                       else r.detail end,
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
            'removed', r.removed_rows, 'kept', r.kept_rows,
            'address_changes', r.address_changes, 'not_cleared', r.not_cleared_rows, 'requests', r.requests,
            'throttled', r.throttled, 'retries', r.retries),
        'requests', r.requests, 'throttled', r.throttled, 'retries', r.retries)
$$;

revoke execute on function
    klaviyo.is_shown(klaviyo.run), klaviyo.outlooks(bigint[]), klaviyo.list_wait(bigint)
    from public;
grant execute on function klaviyo.outlooks(bigint[]), klaviyo.list_wait(bigint)
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker, klaviyo_definer;
