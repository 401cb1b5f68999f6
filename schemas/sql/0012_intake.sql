-- Taking events in: what was promised is on disk; a lock that somebody holds
-- sets aside the events that need it, and no others.

-- An offset is committed in Kafka once PostgreSQL has said that its event has
-- ended, and a run is fenced by an epoch that must never come twice. So whoever
-- writes here waits for the disk (and for synchronous standbys), whatever the
-- site, the database or the role prefers.
create function klaviyo.commit_durably() returns trigger
language plpgsql as $$
begin
    if pg_catalog.current_setting('synchronous_commit') not in ('on', 'remote_apply') then
        perform pg_catalog.set_config('synchronous_commit', 'on', true);
    end if;
    return null;
end
$$;
create trigger commit_durably after insert or update or delete on klaviyo.request
    for each statement execute function klaviyo.commit_durably();
create trigger commit_durably after insert or update or delete on klaviyo.run
    for each statement execute function klaviyo.commit_durably();
create trigger commit_durably after insert or update or delete on klaviyo.batch
    for each statement execute function klaviyo.commit_durably();

-- As before, but the same source and id for another segment is another event.
create or replace function klaviyo.repeat_request(e klaviyo.event) returns bigint
language plpgsql as $$
declare
    v_first klaviyo.request;
    v_request_id bigint;
begin
    select * into v_first from klaviyo.request q
    where q.source = e.source and q.event_id = e.event_id and q.segment_id = e.segment_id
    order by q.request_id desc limit 1;
    -- Runs before requests, as where a run ends: nobody waits in a circle.
    perform from klaviyo.run r
    where r.run_id in (select a.run_id from klaviyo.request_run a
                       where a.request_id = v_first.request_id)
    order by r.run_id
    for key share;
    select * into v_first from klaviyo.request q
    where q.request_id = v_first.request_id
    for share;
    if not found or v_first.state in ('dead_letter_due', 'dead_lettered') then
        return null;
    end if;
    if v_first.state = 'open' then
        v_request_id := klaviyo.insert_request(e);
        insert into klaviyo.request_run
        select v_request_id, run_id from klaviyo.request_run
        where request_id = v_first.request_id;
        return v_request_id;
    end if;
    if exists (select from klaviyo.request_run join klaviyo.run using (run_id)
               where request_id = v_first.request_id and state = 'cancelled') then
        return null;
    end if;
    return 0;
end
$$;

-- Takes events in one by one, each in a subtransaction: those whose export
-- somebody else has locked come back as blocked, the others are taken in. One
-- that waited is not asked about again, nor are others of its segment.
create function klaviyo.take_in_one_by_one(p_events klaviyo.event[])
returns table (request_id bigint, state text)
language plpgsql as $$
declare
    e klaviyo.event;
    v_free bigint[];
    v_blocked text[] := '{}';
begin
    select coalesce(array_agg(l.export_id), '{}') into v_free
    from (select x.export_id from klaviyo.export x
          where x.export_id in (select s.export_id from klaviyo.export_segment s
                                join unnest(p_events) u on u.segment_id = s.segment_id)
          order by x.export_id
          for no key update skip locked) l;

    foreach e in array p_events loop
        request_id := 0;
        state := 'blocked';
        if e.segment_id is null or not (
            e.segment_id = any (v_blocked) or exists (
                select from klaviyo.export_segment s
                where s.segment_id = e.segment_id and s.export_id <> all (v_free))) then
            begin
                select a.request_id, a.state into request_id, state
                from klaviyo.accept_event(e) a;
            exception when lock_not_available then
                request_id := 0;
                state := 'blocked';
                v_blocked := v_blocked || e.segment_id;
            end;
        end if;
        return next;
    end loop;
end
$$;

-- Takes events in, in their order, in one commit; no lock is waited for longer
-- than p_lock_ms. p_one_by_one: see above; else a lock that cannot be had fails
-- the statement (55P03).
create function klaviyo.take_in(p_events klaviyo.event[], p_lock_ms integer, p_one_by_one boolean)
returns table (request_id bigint, state text)
language plpgsql as $$
begin
    perform set_config('lock_timeout', p_lock_ms::text, true);
    if p_one_by_one then
        perform pg_notify('klaviyo_worker', 'queued');
        return query select t.request_id, t.state from klaviyo.take_in_one_by_one(p_events) t;
    else
        return query select a.request_id, a.state from klaviyo.accept_events(p_events) a;
    end if;
end
$$;

-- Who holds what intake waits for: of those with a lock on the tables of exports
-- and runs that is more than a reader's, the one whose transaction is oldest.
create function klaviyo.lock_holder(out pid integer, out usename text, out application_name text)
language sql stable as $$
    select l.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, '')
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    where l.granted and l.pid <> pg_backend_pid()
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.relation in ('klaviyo.export'::regclass, 'klaviyo.export_segment'::regclass,
                         'klaviyo.connection'::regclass, 'klaviyo.run'::regclass,
                         'klaviyo.request'::regclass)
      and l.mode not in ('AccessShareLock', 'SIReadLock')
    order by l.mode = 'AccessExclusiveLock' desc, age(a.backend_xid) desc nulls last
    limit 1
$$;
