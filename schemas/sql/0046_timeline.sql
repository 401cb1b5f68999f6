-- When the batches of a run were imported, for people who look: the rows of batches go
-- when their run ends, a summary of bounded size stays as long as the run.

-- At most 24 spans, in the order of planning: [from, to, rows, state], in seconds since
-- the run began; to is null while a job goes on. Where there are more batches, neighbours
-- are one span, whose state is the worst of theirs. Null: nothing was imported.
create function klaviyo.timeline(r klaviyo.run) returns json
language sql stable set search_path = pg_catalog, pg_temp as $$
    select json_agg(json_build_array(s.from_s, s.to_s, s.row_count, s.state) order by s.part)
    from (select t.part, sum(t.row_count) as row_count, max(t.state) as state,
                 round(extract(epoch from min(t.posted_at) - r.started_at)::numeric, 1) as from_s,
                 case when bool_and(t.ended_at is not null)
                      then round(extract(epoch from max(t.ended_at) - r.started_at)::numeric, 1)
                 end as to_s
          from (select b.row_count, b.state, b.posted_at, b.ended_at,
                       ntile(24) over (order by b.batch_id) as part
                from klaviyo.batch b
                where b.run_id = r.run_id and b.state <> 'planned' and b.posted_at is not null) t
          group by t.part) s
$$;

create table klaviyo.run_timeline (
    run_id bigint primary key references klaviyo.run on delete cascade,
    spans  json not null
);
alter table klaviyo.run_timeline enable row level security;
create policy everything on klaviyo.run_timeline to klaviyo_admin, klaviyo_worker using (true);

create function klaviyo.keep_timeline() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into klaviyo.run_timeline (run_id, spans)
    select new.run_id, t.spans from klaviyo.timeline(new) as t(spans) where t.spans is not null;
    return null;
end
$$;
create trigger keep_timeline after update of state on klaviyo.run
    for each row when (old.state = 'running' and new.state not in ('queued', 'running'))
    execute function klaviyo.keep_timeline();

revoke execute on function
    klaviyo.timeline(klaviyo.run), klaviyo.keep_timeline()
    from public;
