-- Outcome events: what became of a run, for whoever published its refresh.
--
-- One row for each segment of the export, written in the transaction that ends
-- the run, whatever ends it; a worker sends it to Kafka and deletes it once the
-- broker has acknowledged it. data is the event's data as it is sent: it names no
-- address. A row needs nothing of its run or its export, which may be gone by then.
create table klaviyo.outcome (
    outcome_id    bigint primary key default klaviyo.random_id(), -- a sender holds it
    run_id        bigint not null,
    epoch         integer not null, -- of the run's end
    export_name   text not null,
    segment_id    text not null,
    data          json not null,
    traceparent   text,
    ended_at      timestamptz not null,
    too_large     boolean not null default false, -- for the broker: goes without refresh_ids
    claimed_until timestamptz, -- a worker is sending it
    unique (run_id, epoch, segment_id)
);
create index on klaviyo.outcome (ended_at, outcome_id);

-- The refreshes that a run answers, the newest ones as far as they find room (a
-- broker takes 1 MB by default): the array, and how many were left out.
create function klaviyo.answered_refreshes(p_run_id bigint, out ids json, out omitted bigint)
language sql stable as $$
    select coalesce(json_agg(s.refresh_id order by s.first) filter (where s.bytes <= 500000), '[]'),
           count(*) filter (where s.bytes > 500000)
    from (select q.refresh_id, min(q.request_id) as first,
                 sum(octet_length(to_json(q.refresh_id)::text) + 2)
                     over (order by min(q.request_id) desc) as bytes
          from klaviyo.request_run a join klaviyo.request q using (request_id)
          where a.run_id = p_run_id and q.refresh_id is not null
          group by q.refresh_id) s
$$;

create function klaviyo.outcome_data(r klaviyo.run, p_list_id text) returns json
language sql stable as $$
    select case when a.omitted = 0 then d.data
                else (d.data::jsonb || jsonb_build_object('refresh_ids_omitted', a.omitted))::json end
    from klaviyo.answered_refreshes(r.run_id) a
    cross join lateral (select json_build_object(
        'export', r.export_name, 'list_id', p_list_id, 'run', r.run_id, 'trigger', r.trigger,
        'refresh_ids', a.ids, 'state', r.state, 'reason', r.reason, 'detail', r.detail,
        'queued_at', klaviyo.utc(r.queued_at), 'started_at', klaviyo.utc(r.started_at),
        'finished_at', klaviyo.utc(r.finished_at),
        'counts', klaviyo.run_json(r) -> 'counts') as data) d
$$;

-- A trial is no export of its segments.
create function klaviyo.write_outcome(r klaviyo.run) returns void
language sql as $$
    insert into klaviyo.outcome (run_id, epoch, export_name, segment_id, data, traceparent, ended_at)
    select r.run_id, r.epoch, r.export_name, s.segment_id, d.data, d.traceparent, r.finished_at
    from (select x.export_id, klaviyo.outcome_data(r, x.list_id) as data,
                 (select q.traceparent
                  from klaviyo.request_run a join klaviyo.request q using (request_id)
                  where a.run_id = r.run_id and q.traceparent is not null
                  order by q.request_id desc limit 1) as traceparent
          from klaviyo.export x where x.export_id = r.export_id and r.trigger <> 'trial'
          offset 0) d
    join klaviyo.export_segment s using (export_id)
$$;

create function klaviyo.run_has_ended() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.write_outcome(new);
    return null;
end
$$;
create trigger run_has_ended after update of state on klaviyo.run
    for each row when (old.state in ('queued', 'running') and new.state not in ('queued', 'running'))
    execute function klaviyo.run_has_ended();

-- As before, with its outcome: the row comes into being with its end, and its
-- event is attached after that.
create or replace function klaviyo.attach_failed(p_request_id bigint, p_export klaviyo.export,
                                                 p_connection text, p_trigger text,
                                                 p_attention text)
returns void language plpgsql as $$
declare
    v klaviyo.run;
begin
    insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, reason,
                             detail, finished_at)
    values (p_export.export_id, p_export.name, p_connection, p_trigger, 'failed',
            'connection_needs_attention',
            format('connection %s needs attention (%s): run connection verify or rotate-key',
                   p_connection, p_attention),
            clock_timestamp())
    returning * into v;
    insert into klaviyo.request_run values (p_request_id, v.run_id);
    perform klaviyo.write_outcome(v);
end
$$;

alter table klaviyo.outcome enable row level security;
create policy everything on klaviyo.outcome to klaviyo_admin, klaviyo_worker using (true);
revoke execute on function
    klaviyo.answered_refreshes(bigint), klaviyo.outcome_data(klaviyo.run, text),
    klaviyo.write_outcome(klaviyo.run), klaviyo.run_has_ended()
    from public;
grant select, insert, update, delete on klaviyo.outcome to klaviyo_worker;
grant execute on function
    klaviyo.answered_refreshes(bigint), klaviyo.outcome_data(klaviyo.run, text),
    klaviyo.write_outcome(klaviyo.run)
    to klaviyo_worker;
