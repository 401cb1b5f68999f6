-- A parked run gives way to a queued one of another account; where that may not
-- start (the last free slot is for short runs, or its export is locked), the
-- parked one goes on: no slot stays free while a run could use it.

-- The parked run whose wait has been over for the longest.
create function klaviyo.any_parked_run(p_key_pair integer) returns bigint
language sql as $$
    select r.run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    where r.state = 'running' and r.parked_until < clock_timestamp()
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
    order by r.parked_until
    limit 1 for update of r skip locked
$$;

-- Takes the next run: a new epoch, a new lease; server processes that still
-- work under the old epoch are ended. No row: nothing to take. A row with
-- closed = true: the run was ended instead; ask again.
create or replace function klaviyo.take_run(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                            p_recover boolean, p_short_only boolean)
returns table (run_id bigint, epoch integer, export_id bigint, taken_over boolean, closed boolean)
language plpgsql as $$
declare
    v_run_id bigint;
    v klaviyo.run;
    o record;
begin
    perform klaviyo.correct_leases();
    if p_recover then
        v_run_id := klaviyo.abandoned_run(p_key_pair);
    end if;
    v_run_id := coalesce(v_run_id, klaviyo.queued_run(p_key_pair, p_short_only));
    if v_run_id is null and p_recover then
        v_run_id := klaviyo.any_parked_run(p_key_pair);
    end if;
    if v_run_id is null then
        return;
    end if;
    select * into v from klaviyo.run r where r.run_id = v_run_id;
    perform pg_terminate_backend(a.pid) from pg_stat_activity a
    where a.pid = any (v.backends) and a.pid <> pg_backend_pid()
      and v.server_started = pg_postmaster_start_time() -- else the numbers are others' by now
      and a.datname = current_database() and a.usename = current_user
      -- Behind a pooler it may be another's by now: only what began under the old lease.
      and a.application_name like 'klaviyo-worker%' and a.xact_start < v.lease_until;

    select * into o from klaviyo.obstacle(v.export_id);
    if o.state is null and v.takes_without_progress >= 5 then
        o.state := 'failed'; o.reason := 'taken_over_too_often';
        o.detail := 'five takes in a row brought no progress: look at the workers'' logs';
    end if;
    if o.state is not null then
        perform klaviyo.close_run(v_run_id, o.state, o.reason, o.detail);
        return query select v_run_id, v.epoch, v.export_id, false, true;
        return;
    end if;

    return query
    update klaviyo.run r
    set state = 'running', epoch = r.epoch + 1, worker = p_worker,
        started_at = coalesce(r.started_at, clock_timestamp()),
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms',
        lease_renewed_at = clock_timestamp(), waiting_until = null,
        first_batch = coalesce(r.first_batch, nextval('klaviyo.batch_id')), planned = false,
        backends = array[pg_backend_pid()], server_started = pg_postmaster_start_time(),
        takes_without_progress = r.takes_without_progress + (v.state = 'running')::integer
    where r.run_id = v_run_id
    returning r.run_id, r.epoch, r.export_id, v.state = 'running', false;
exception when unique_violation then
    return; -- the export is running: the index refuses a second one
end
$$;

revoke execute on function klaviyo.any_parked_run(integer) from public;
grant execute on function klaviyo.any_parked_run(integer) to klaviyo_worker;
