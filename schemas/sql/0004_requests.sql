-- From events to queued runs, and from ended runs back to events.

-- Ends the open requests of a run whose runs have all ended. The rows are
-- locked before they are looked at: of two runs of one request that end at the
-- same moment the second one sees the first.
create function klaviyo.settle_requests(p_run_id bigint) returns void
language plpgsql as $$
begin
    perform from klaviyo.request q
    join klaviyo.request_run a using (request_id)
    where a.run_id = p_run_id and q.state = 'open'
    order by q.request_id
    for update of q;

    update klaviyo.request q
    set state = case when f.run_id is null then 'done' else 'dead_letter_due' end,
        reason = f.reason, detail = f.detail, failed_run = f.run_id,
        failed_exports = f.exports,
        ended_at = clock_timestamp()
    from klaviyo.request_run a
    left join lateral (
        select (array_agg(r.run_id order by r.export_name collate "C"))[1] as run_id,
               (array_agg(r.reason order by r.export_name collate "C"))[1] as reason,
               (array_agg(r.detail order by r.export_name collate "C"))[1] as detail,
               array_agg(r.export_name order by r.export_name collate "C") as exports
        from klaviyo.request_run b
        join klaviyo.run r using (run_id)
        where b.request_id = a.request_id and r.state = 'failed'
    ) f on true
    where a.run_id = p_run_id and q.request_id = a.request_id and q.state = 'open'
      and not exists (
          select from klaviyo.request_run b
          join klaviyo.run r using (run_id)
          where b.request_id = q.request_id and r.state in ('queued', 'running'));

    perform pg_notify('klaviyo_worker', 'ended');
end
$$;

-- Attaches a request to the queued run of an export, made where there is none.
create function klaviyo.attach(p_request_id bigint, p_export klaviyo.export,
                               p_connection text, p_trigger text, p_full boolean,
                               p_confirm boolean) returns void
language plpgsql as $$
declare
    v_run bigint;
begin
    insert into klaviyo.run (export_id, export_name, connection_name, trigger, full_refresh,
                             confirm_removals)
    values (p_export.export_id, p_export.name, p_connection, p_trigger, p_full, p_confirm)
    on conflict (export_id) where state = 'queued'
    do update set full_refresh = run.full_refresh or excluded.full_refresh,
                  confirm_removals = run.confirm_removals or excluded.confirm_removals,
                  trigger = case when 'on-demand' in (run.trigger, excluded.trigger)
                                 then 'on-demand' else excluded.trigger end
    returning run_id into v_run;
    insert into klaviyo.request_run values (p_request_id, v_run);
end
$$;

-- A run that ends as it begins: the connection needs attention.
create function klaviyo.attach_failed(p_request_id bigint, p_export klaviyo.export,
                                      p_connection text, p_trigger text, p_attention text)
returns void language plpgsql as $$
declare
    v_run bigint;
begin
    insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, reason,
                             detail, finished_at)
    values (p_export.export_id, p_export.name, p_connection, p_trigger, 'failed',
            'connection_needs_attention',
            format('connection %s needs attention (%s): run connection verify or rotate-key',
                   p_connection, p_attention),
            clock_timestamp())
    returning run_id into v_run;
    insert into klaviyo.request_run values (p_request_id, v_run);
end
$$;

create type klaviyo.event as (
    topic text, partition integer, record_offset bigint, record_ms bigint,
    source text, event_id text, segment_id text, refresh_id text, refreshed_at timestamptz,
    trigger text, export_name text, full_refresh boolean, confirm_removals boolean,
    traceparent text, reason text, detail text); -- reason not null: the event is invalid

-- Writes a request's row as it stands at first; null: another worker has just
-- written it.
create function klaviyo.insert_request(e klaviyo.event) returns bigint
language sql as $$
    insert into klaviyo.request (
        topic, partition, record_offset, record_ms, source, event_id, segment_id, refresh_id,
        refreshed_at, trigger, export_name, full_refresh, confirm_removals, traceparent,
        state, reason, detail, ended_at)
    values (
        e.topic, e.partition, e.record_offset, e.record_ms, e.source, e.event_id, e.segment_id,
        e.refresh_id, e.refreshed_at, e.trigger, e.export_name, coalesce(e.full_refresh, false),
        coalesce(e.confirm_removals, false), e.traceparent,
        case when e.reason is null then 'open' else 'dead_letter_due' end, e.reason, e.detail,
        case when e.reason is not null then clock_timestamp() end)
    on conflict do nothing
    returning request_id
$$;

-- The same event in another record: attached to the same runs while they go
-- on; null where it is new work (never seen, failed, cancelled); 0 where it
-- has succeeded.
create function klaviyo.repeat_request(e klaviyo.event) returns bigint
language plpgsql as $$
declare
    v_first klaviyo.request;
    v_request_id bigint;
begin
    select * into v_first from klaviyo.request q
    where q.source = e.source and q.event_id = e.event_id and q.segment_id is not null
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

-- New work for every export concerned, in order of export id (so that two
-- events never wait for each other). 0 where nothing is to be done.
create function klaviyo.new_request(e klaviyo.event) returns bigint
language plpgsql as $$
declare
    v_request_id bigint;
    v_export klaviyo.export;
    v_name text;
    v_attention text;
begin
    for v_export in
        select x.* from klaviyo.export x
        join klaviyo.export_segment s using (export_id)
        where s.segment_id = e.segment_id and not x.paused
          and (e.export_name is null or x.name = e.export_name)
        order by x.export_id
    loop
        v_request_id := coalesce(v_request_id, klaviyo.insert_request(e));
        select c.name, c.attention_reason into v_name, v_attention
        from klaviyo.connection c where c.connection_id = v_export.connection_id;
        if v_attention is null then
            perform klaviyo.attach(v_request_id, v_export, v_name, e.trigger,
                                   e.full_refresh, e.confirm_removals);
        else
            perform klaviyo.attach_failed(v_request_id, v_export, v_name, e.trigger, v_attention);
        end if;
    end loop;
    return coalesce(v_request_id, 0);
end
$$;

-- Takes one event in. state: open, done, ignored, dead_letter_due, dead_lettered.
create function klaviyo.accept_event(e klaviyo.event, out request_id bigint, out state text)
language plpgsql as $$
declare
    v_run bigint;
begin
    select q.request_id, q.state into request_id, state
    from klaviyo.request q
    where (q.topic, q.partition, q.record_offset, q.record_ms)
        = (e.topic, e.partition, e.record_offset, e.record_ms);
    if found then
        return;
    end if;
    if e.reason is not null then
        request_id := klaviyo.insert_request(e);
        select q.request_id, q.state into request_id, state
        from klaviyo.request q
        where (q.topic, q.partition, q.record_offset, q.record_ms)
            = (e.topic, e.partition, e.record_offset, e.record_ms);
        return;
    end if;

    request_id := coalesce(klaviyo.repeat_request(e), -1);
    if request_id = 0 then
        state := 'done';
        return;
    end if;
    if request_id < 0 then
        request_id := klaviyo.new_request(e);
    end if;
    if request_id = 0 then
        state := 'ignored';
        return;
    end if;

    -- Where every run of it has ended already, it has too.
    if not exists (select from klaviyo.request_run a join klaviyo.run r using (run_id)
                   where a.request_id = accept_event.request_id
                     and r.state in ('queued', 'running')) then
        select a.run_id into v_run from klaviyo.request_run a
        where a.request_id = accept_event.request_id limit 1;
        perform klaviyo.settle_requests(v_run);
    end if;
    select q.state into state from klaviyo.request q
    where q.request_id = accept_event.request_id;
end
$$;

-- Takes events in, in their order, in one commit. The exports concerned are
-- locked first and in one order, so that two workers never wait for each other.
create function klaviyo.accept_events(p_events klaviyo.event[])
returns table (request_id bigint, state text)
language plpgsql as $$
begin
    perform from klaviyo.export x
    where x.export_id in (select s.export_id from klaviyo.export_segment s
                          join unnest(p_events) e on e.segment_id = s.segment_id)
    order by x.export_id
    for no key update;
    if found then
        perform pg_notify('klaviyo_worker', 'queued');
    end if;

    return query
    select a.request_id, a.state
    from unnest(p_events) with ordinality as e, lateral klaviyo.accept_event(
        row(e.topic, e.partition, e.record_offset, e.record_ms, e.source, e.event_id,
            e.segment_id, e.refresh_id, e.refreshed_at, e.trigger, e.export_name, e.full_refresh,
            e.confirm_removals, e.traceparent, e.reason, e.detail)::klaviyo.event) a
    order by e.ordinality;
end
$$;
