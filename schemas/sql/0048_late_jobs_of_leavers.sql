-- A job that ends late may put people on the list who have been taken off it since, and whom
-- the ledger has forgotten with that: they are remembered again, as perhaps on the list, so
-- that the next plan finds that they left.

-- Whether the job names the list: else it only brings profiles up to date. The version before
-- writes nothing here, and what it kept may have named it.
alter table klaviyo.late_job add with_list boolean not null default true;

-- As before, with the batch's word on the list.
create or replace function klaviyo.keep_late_job(p_batch_id bigint, p_job_id text, p_given_up boolean)
returns void language sql as $$
    insert into klaviyo.late_job (export_id, batch_id, job_id, given_up, since, addresses, with_list)
    select b.export_id, b.batch_id, p_job_id, p_given_up,
           coalesce(b.posted_at, clock_timestamp()), array_agg(l.address), b.with_list
    from klaviyo.batch b
    join klaviyo.ledger l on l.export_id = b.export_id and l.batch_id = b.batch_id
    where b.batch_id = p_batch_id
    group by b.batch_id
$$;

-- As before, and whom the ledger does not know any more may be on the list again, or not (the
-- job's errors were not read): removing says that, and who comes back is sent with the list.
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
    on conflict do nothing;
    delete from klaviyo.late_job j where j.late_job_id = p_late_job_id;
    return true;
end
$$;

-- As before, and the rows that an earlier pass of this run sent, and that it took off the list
-- before the members were read once more, count, too: selected = accepted + rejected. The
-- run's row is locked by now, so that no batch ends between its counts and those of batches.
create or replace function klaviyo.run_is_planned() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_missing bigint;
begin
    new.plan_epoch := new.epoch;
    select new.accepted_rows + new.rejected_rows + coalesce(sum(b.row_count), 0)
           - new.selected_rows into v_missing
    from klaviyo.batch b
    where b.run_id = new.run_id and b.state in ('planned', 'sent');
    if v_missing > 0 then
        new.selected_rows := new.selected_rows + v_missing;
        new.read_rows := new.read_rows + v_missing;
    end if;
    return new;
end
$$;
