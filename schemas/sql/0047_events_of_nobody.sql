-- Taking events in: those that concern nobody are found in one statement and cost
-- no more than to be looked up.

-- Of each event: does it concern nobody? It is valid, no export uses its segment
-- but paused ones, and neither its record nor another one of its source and id
-- was seen before. Such an event leaves no row, and what becomes of the others of
-- a batch changes nothing of that: those of its segment concern nobody either.
-- No `exists`: PostgreSQL would read all requests there are into a hash table.
create function klaviyo.concern_nobody(p_events klaviyo.event[]) returns boolean[]
language plpgsql stable as $$
begin
    return array(
        select e.reason is null
               and (select s.export_id from klaviyo.export_segment s
                    join klaviyo.export x using (export_id)
                    where s.segment_id = e.segment_id and not x.paused limit 1) is null
               and (select q.request_id from klaviyo.request q
                    where q.topic = e.topic and q.partition = e.partition
                      and q.record_offset = e.record_offset and q.record_ms = e.record_ms) is null
               and (select q.request_id from klaviyo.request q
                    where q.source = e.source and q.event_id = e.event_id
                      and q.segment_id = e.segment_id limit 1) is null
        from unnest(p_events) with ordinality as e
        order by e.ordinality);
end
$$;

-- As before, for events that may concern somebody.
create function klaviyo.take_in_work(p_events klaviyo.event[], p_one_by_one boolean)
returns table (request_id bigint, state text)
language plpgsql as $$
begin
    if cardinality(p_events) = 0 then
        return;
    elsif p_one_by_one then
        perform pg_notify('klaviyo_worker', 'queued');
        return query select t.request_id, t.state from klaviyo.take_in_one_by_one(p_events) t;
    else
        return query select a.request_id, a.state from klaviyo.accept_events(p_events) a;
    end if;
end
$$;

-- As before, but that a lock holds up no event that concerns nobody.
create or replace function klaviyo.take_in(p_events klaviyo.event[], p_lock_ms integer,
                                           p_one_by_one boolean)
returns table (request_id bigint, state text)
language plpgsql as $$
declare
    v_nobody boolean[];
    v_work klaviyo.event[];
begin
    perform set_config('lock_timeout', p_lock_ms::text, true);
    v_nobody := klaviyo.concern_nobody(p_events);
    v_work := array(select p_events[n] from generate_subscripts(p_events, 1) n
                    where not v_nobody[n] order by n);
    return query
    select coalesce(t.request_id, 0), coalesce(t.state, 'ignored')
    from (select e.n, case when not e.nobody
                           then count(*) filter (where not e.nobody) over (order by e.n) end as nth
          from unnest(v_nobody) with ordinality as e(nobody, n)) e
    left join klaviyo.take_in_work(v_work, p_one_by_one)
              with ordinality as t(request_id, state, nth) using (nth)
    order by e.n;
end
$$;

revoke execute on function
    klaviyo.concern_nobody(klaviyo.event[]), klaviyo.take_in_work(klaviyo.event[], boolean)
    from public;
