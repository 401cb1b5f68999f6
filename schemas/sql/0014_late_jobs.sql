-- Jobs of Klaviyo that may still work when their run is over.
--
-- A run that is cancelled, or fails, can leave jobs that have not ended; a job
-- that takes too long is given up; and of an import whose response was lost
-- nobody knows whether it became a job. What such a job holds is older than what
-- a later run sends, and would overwrite it. So its rows are remembered: a later
-- run of the export polls it to its end, and then sends once more what was sent
-- meanwhile.
create table klaviyo.late_job (
    late_job_id bigint generated always as identity primary key,
    export_id   bigint not null references klaviyo.export on delete cascade,
    batch_id    bigint not null,
    job_id      text check (job_id <> ''), -- null: the response was lost
    since       timestamptz not null default clock_timestamp(),
    given_up    boolean not null default false, -- it was waited for; a later run looks once
    addresses   text[] not null
);
create index on klaviyo.late_job (export_id);

-- When an import of the batch was begun last.
alter table klaviyo.batch add posted_at timestamptz;

-- The rows of a batch whose run goes on without its job.
create function klaviyo.keep_late_job(p_batch_id bigint, p_job_id text, p_given_up boolean)
returns void language sql as $$
    insert into klaviyo.late_job (export_id, batch_id, job_id, given_up, since, addresses)
    select b.export_id, b.batch_id, p_job_id, p_given_up,
           coalesce(b.posted_at, clock_timestamp()), array_agg(l.address)
    from klaviyo.batch b
    join klaviyo.ledger l on l.export_id = b.export_id and l.batch_id = b.batch_id
    where b.batch_id = p_batch_id
    group by b.batch_id
$$;

-- Whatever ends a run: its unfinished jobs, and imports that nobody answered.
create function klaviyo.run_leaves_jobs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.keep_late_job(b.batch_id, b.job_id, false)
    from klaviyo.batch b
    where b.run_id = new.run_id
      and (b.state = 'sent' or b.state = 'planned' and b.posted_at > now() - interval '1 day');
    return null;
end
$$;
create trigger run_leaves_jobs after update of state on klaviyo.run
    for each row when (old.state = 'running' and new.state in ('failed', 'cancelled'))
    execute function klaviyo.run_leaves_jobs();

-- The job has ended: rows that were sent in other batches since are taken for
-- changed, so that they are sent once more: 0 is no row's fingerprint. False: the
-- run is somebody else's.
create function klaviyo.settle_late_job(p_run_id bigint, p_epoch integer, p_late_job_id bigint)
returns boolean language plpgsql as $$
begin
    perform from klaviyo.run r
    where r.run_id = p_run_id and r.epoch = p_epoch and r.state = 'running' for key share;
    if not found then
        return false;
    end if;
    update klaviyo.ledger l set fingerprint = 0
    from klaviyo.late_job j, unnest(j.addresses) as u(address)
    where j.late_job_id = p_late_job_id and l.export_id = j.export_id
      and l.address = u.address collate "C" and l.batch_id <> j.batch_id;
    delete from klaviyo.late_job j where j.late_job_id = p_late_job_id;
    return true;
end
$$;

-- Jobs of earlier runs of the run's export. Imports without a response can have
-- become a job for p_unknown_ms; after that they count as ended.
create function klaviyo.late_jobs(p_run_id bigint, p_epoch integer, p_unknown_ms bigint)
returns table (late_job_id bigint, job_id text, given_up boolean)
language plpgsql as $$
begin
    perform klaviyo.settle_late_job(p_run_id, p_epoch, j.late_job_id)
    from klaviyo.run r join klaviyo.late_job j using (export_id)
    where r.run_id = p_run_id and j.job_id is null
      and j.since < clock_timestamp() - p_unknown_ms * interval '1 ms';
    return query
    select j.late_job_id, j.job_id, j.given_up
    from klaviyo.run r join klaviyo.late_job j using (export_id)
    where r.run_id = p_run_id and j.job_id is not null
    order by j.late_job_id;
end
$$;

alter table klaviyo.late_job enable row level security;
create policy everything on klaviyo.late_job to klaviyo_admin, klaviyo_worker using (true);
grant select, insert, update, delete on klaviyo.late_job to klaviyo_worker;
grant select on klaviyo.late_job to klaviyo_admin;
revoke execute on function
    klaviyo.keep_late_job(bigint, text, boolean), klaviyo.run_leaves_jobs(),
    klaviyo.settle_late_job(bigint, integer, bigint), klaviyo.late_jobs(bigint, integer, bigint)
    from public;
grant execute on function
    klaviyo.keep_late_job(bigint, text, boolean), klaviyo.settle_late_job(bigint, integer, bigint),
    klaviyo.late_jobs(bigint, integer, bigint)
    to klaviyo_worker;
