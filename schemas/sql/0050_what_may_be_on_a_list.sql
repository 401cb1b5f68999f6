-- What is remembered of a list is not true of another one.

-- As before, but jobs that the runs leave name a list that is the export's no more: they are
-- waited for, as what they hold is older than what the next run sends, and put nobody on the
-- new list.
create or replace function klaviyo.export_is_changing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (new.connection_id, new.list_id, new.email_path, new.max_profiles, new.paused)
       is not distinct from
       (old.connection_id, old.list_id, old.email_path, old.max_profiles, old.paused) then
        if (new.list_name, new.list_checked_at)
           is not distinct from (old.list_name, old.list_checked_at) then
            new.changed_at := clock_timestamp(); -- its segments or fields, which have own rows
        end if;
        return new;
    end if;
    perform klaviyo.stop_runs(old.export_id, case when new.paused then 'export_paused'
                                             else 'export_changed' end);
    new.changed_at := clock_timestamp();
    if (new.connection_id, new.list_id) is distinct from (old.connection_id, old.list_id) then
        -- Another list: nothing of what was sent is on it, or will be.
        new.list_name := null;
        new.list_checked_at := null;
        delete from klaviyo.ledger where export_id = old.export_id;
        delete from klaviyo.batch where export_id = old.export_id;
        update klaviyo.late_job set with_list = false where export_id = old.export_id;
        update klaviyo.run r set connection_name = c.name
        from klaviyo.connection c
        where r.export_id = old.export_id and r.state = 'queued'
          and c.connection_id = new.connection_id;
    end if;
    return new;
end
$$;

-- An earlier batch than the row's may have put it on the list, or a removal may have left it
-- there: what the row's own batch does not tell. It is of no moment once the row is confirmed.
alter table klaviyo.ledger add perhaps_listed boolean not null default false;

-- As before, and while the run goes on, its rows may get other batches, or their batch another
-- import: they say themselves that they may be on the list. A run that has ended leaves its
-- batches as they are.
create or replace function klaviyo.keep_late_job(p_batch_id bigint, p_job_id text, p_given_up boolean)
returns void language sql as $$
    with kept as (
        insert into klaviyo.late_job (export_id, batch_id, job_id, given_up, since, addresses, with_list)
        select b.export_id, b.batch_id, p_job_id, p_given_up,
               coalesce(b.posted_at, clock_timestamp()), array_agg(l.address), b.with_list
        from klaviyo.batch b
        join klaviyo.ledger l on l.export_id = b.export_id and l.batch_id = b.batch_id
        where b.batch_id = p_batch_id
        group by b.batch_id
        returning export_id, batch_id, addresses, with_list)
    update klaviyo.ledger l set perhaps_listed = true
    from kept k
    join klaviyo.batch b using (batch_id)
    join klaviyo.run r using (run_id), unnest(k.addresses) as u(address)
    where k.with_list and r.state = 'running'
      and l.export_id = k.export_id and l.address = u.address collate "C" and not l.perhaps_listed
$$;

-- As before, and whom the ledger knows may be on the list by this job, too, whatever became of
-- the batch in which they were sent since.
create or replace function klaviyo.settle_late_job(p_run_id bigint, p_epoch integer,
                                                   p_late_job_id bigint)
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
    insert into klaviyo.ledger (export_id, address, fingerprint, batch_id, removing)
    select j.export_id, u.address, 0, j.batch_id, true
    from klaviyo.late_job j, unnest(j.addresses) as u(address)
    where j.late_job_id = p_late_job_id and j.with_list
    on conflict (export_id, address) do update set perhaps_listed = true
    where not ledger.perhaps_listed;
    delete from klaviyo.late_job j where j.late_job_id = p_late_job_id;
    return true;
end
$$;

-- As before, and what another export may have put there holds a person, too.
create or replace function klaviyo.is_held_elsewhere(p_export_id bigint, p_address text)
returns boolean language sql stable as $$
    select exists (
        select from klaviyo.sharers(p_export_id) as o (export_id)
        join klaviyo.ledger l on l.export_id = o.export_id
        where l.address = p_address collate "C" and not l.removing
          and (l.listed or l.perhaps_listed
               or (l.rejected_batch is null or l.batch_id > l.rejected_batch)
                  and not exists (
                      select from klaviyo.batch b
                      where b.batch_id = l.batch_id and b.state = 'planned' and b.posted_at is null)))
$$;
