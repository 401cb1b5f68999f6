-- -- a trial sends what it has read, and what it has read is still so ------------------

-- How often somebody began to be forgotten.
create sequence klaviyo.forgetting;

-- While somebody is being forgotten no trial begins, and none reads.
create function klaviyo.lock_forgetting(p_exclusive boolean) returns void
language plpgsql as $$
begin
    if p_exclusive then
        perform pg_advisory_xact_lock(hashtextextended('klaviyo forgetting', 0));
    else
        perform pg_advisory_xact_lock_shared(hashtextextended('klaviyo forgetting', 0));
    end if;
end
$$;

-- What the rows of a trial follow from, besides the members: another text after a change of
-- the export, after a run of it began or ended, and after somebody was forgotten. p_trial: a run
-- that does not count; null: none. Null: there is no such export.
create function klaviyo.trial_basis(p_export_name text, p_trial bigint) returns text
language plpgsql as $$
begin
    perform klaviyo.lock_forgetting(false);
    return (
        select jsonb_build_array(
            x.export_id, extract(epoch from x.changed_at),
            (select max(r.first_batch) from klaviyo.run r
             where r.export_id = x.export_id and r.run_id is distinct from p_trial),
            (select max(r.run_id) from klaviyo.run r
             where r.export_id = x.export_id and r.state = 'running'
               and r.run_id is distinct from p_trial),
            f.last_value, f.is_called)::text
        from klaviyo.export x, klaviyo.forgetting f
        where x.name = p_export_name);
end
$$;

-- As before, and changed where p_basis, of before the members were read, is not what it is now:
-- the rows know of another list, or of a person who was taken off since. A change of the export
-- that is about to be committed is waited for. p_basis is null where a worker of the version
-- before begins it.
create function klaviyo.begin_trial(p_export_name text, p_worker text, p_lease_ms bigint,
                                    p_task_id bigint, p_token integer, p_kept jsonb, p_basis text)
returns table (what text, run_id bigint, take_id uuid, epoch integer, export_id bigint, detail text)
language plpgsql as $$
declare
    x klaviyo.export;
    c klaviyo.connection;
    r klaviyo.run;
begin
    perform klaviyo.lock_forgetting(false); -- before the task, which goes with whoever is forgotten
    if p_task_id is not null then
        perform from klaviyo.task t
        where t.task_id = p_task_id and t.token = p_token and t.state = 'running' for update;
        if not found then
            what := 'lost';
            return next;
            return;
        end if;
    end if;
    select * into x from klaviyo.export e where e.name = p_export_name for share;
    if not found then
        what := 'missing';
        return next;
        return;
    end if;
    select * into c from klaviyo.connection k where k.connection_id = x.connection_id;
    if c.attention_reason is not null then
        what := 'refused';
        detail := format('connection %s needs attention (%s): run connection verify or rotate-key',
                         c.name, c.attention_reason);
        return next;
        return;
    end if;
    perform klaviyo.lock_list(x.export_id, false);
    select h.run_id into begin_trial.run_id
    from klaviyo.claimers(x.export_id) as h (run_id) order by h.run_id limit 1;
    if found then
        what := 'busy';
        detail := format('people are being taken off the list of export %s by run %s: try again '
                         'when it has ended', x.name, run_id);
        return next;
        return;
    end if;
    begin
        insert into klaviyo.run as n
            (export_id, export_name, connection_name, trigger, state, epoch, worker, started_at,
             lease_until, lease_renewed_at, first_batch, taken_at, take_id, backends,
             server_started, is_trial)
        values (x.export_id, x.name, c.name, 'trial', 'running', 1, p_worker, clock_timestamp(),
                clock_timestamp() + p_lease_ms * interval '1 ms', clock_timestamp(),
                nextval('klaviyo.batch_id'), clock_timestamp(), gen_random_uuid(),
                array[pg_backend_pid()], pg_postmaster_start_time(), true)
        returning n.* into r;
        -- From here on no other run can begin.
        if p_basis <> klaviyo.trial_basis(x.name, r.run_id) then
            raise sqlstate 'KW001'; -- rolls back
        end if;
    exception
        when sqlstate 'KW001' then
            what := 'changed';
            return next;
            return;
        when unique_violation then
            what := 'busy';
            run_id := (select o.run_id from klaviyo.run o
                       where o.export_id = x.export_id and o.state = 'running');
            detail := format('run %s of export %s is going on: try again when it has ended '
                             '(runs watch %1$s)', run_id, x.name);
            return next;
            return;
    end;
    update klaviyo.task t set run_id = r.run_id, kept = p_kept || jsonb_build_object('run', r.run_id)
    where t.task_id = p_task_id;
    what := 'begun';
    run_id := r.run_id;
    take_id := r.take_id;
    epoch := r.epoch;
    export_id := r.export_id;
    return next;
end
$$;

-- For workers of the version before.
create or replace function klaviyo.begin_trial(p_export_name text, p_worker text, p_lease_ms bigint,
                                               p_task_id bigint, p_token integer, p_kept jsonb)
returns table (what text, run_id bigint, take_id uuid, epoch integer, export_id bigint, detail text)
language sql as $$
    select * from klaviyo.begin_trial(p_export_name, p_worker, p_lease_ms, p_task_id, p_token,
                                      p_kept, null)
$$;

-- -- forgetting holds up no run for as long as rejections are read -------------------------

create index on klaviyo.rejection (email) where email is not null;

-- As before, but what is long is done before the runs are locked, as no heartbeat of theirs comes
-- through meanwhile; and no trial begins that read the person before.
create or replace function klaviyo.forget_member(p_address text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_address text := klaviyo.address_of(p_address);
    v_exports jsonb := '[]';
    v_rejections jsonb;
    v_ended bigint[];
    v_others bigint[];
    v_retake bigint[];
    v_jobs integer;
    v record;
    f record;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    if v_address is null then
        return null;
    end if;
    perform klaviyo.lock_forgetting(true);
    perform nextval('klaviyo.forgetting');
    -- Klaviyo's words about others, where they quote it: of runs that add no more of them.
    v_ended := array(select r.run_id from klaviyo.run r where r.finished_at is not null);
    update klaviyo.rejection set detail = null
    where run_id = any (v_ended) and position(v_address in lower(detail)) > 0;

    -- Whoever writes for a run holds it: nobody does from here on.
    perform from klaviyo.run r where r.state = 'running' order by r.run_id for update;
    v_retake := array(select r.run_id from klaviyo.run r
                      where r.state = 'running' and not r.planned);
    with gone as (delete from klaviyo.rejection j where j.email = v_address returning j.run_id),
         counted as (select r.export_id, count(*) as n from gone join klaviyo.run r using (run_id)
                     where r.export_id is not null group by r.export_id)
    select coalesce(jsonb_object_agg(c.export_id, c.n), '{}') into v_rejections from counted c;

    for v in select x.export_id, x.name from klaviyo.export x order by x.name loop
        select * into f from klaviyo.forget_in_export(v.export_id, v_address);
        update klaviyo.late_job set addresses = array_remove(addresses, v_address)
        where export_id = v.export_id and v_address = any (addresses);
        get diagnostics v_jobs = row_count;
        v_retake := v_retake || f.retaken;
        if f.was_known or v_jobs > 0 or v_rejections ? v.export_id::text then
            v_exports := v_exports || jsonb_build_object(
                'export', v.name, 'ledger', f.was_known, 'outbox', f.was_in_outbox,
                'rejections', coalesce(v_rejections -> v.export_id::text, '0'),
                'late_jobs', v_jobs);
        end if;
    end loop;
    -- The words of all other runs.
    v_others := array(select r.run_id from klaviyo.run r except select unnest(v_ended));
    update klaviyo.rejection set detail = null
    where run_id = any (v_others) and position(v_address in lower(detail)) > 0;
    -- What was found out for somebody who has not fetched it yet: whoever asked asks again.
    delete from klaviyo.task t where position(v_address in lower(to_jsonb(t)::text)) > 0;

    update klaviyo.run
    set epoch = epoch + 1, planned = false, lease_until = clock_timestamp(),
        lease_renewed_at = clock_timestamp(),
        takes_without_progress = greatest(takes_without_progress - 1, 0)
    where state = 'running' and run_id = any (v_retake);
    perform klaviyo.audit_write('forget', 'member', '(address not kept)',
                                jsonb_build_object('exports', v_exports));
    perform pg_notify('klaviyo_worker', 'queued');
    return jsonb_build_object('address', v_address, 'exports', v_exports,
                              'runs_taken_anew', (select count(distinct u) from unnest(v_retake) u));
end
$$;

revoke execute on function
    klaviyo.lock_forgetting(boolean), klaviyo.trial_basis(text, bigint),
    klaviyo.begin_trial(text, text, bigint, bigint, integer, jsonb, text)
    from public;
-- Workers of the version before and this version's commands, until rights.sql has run.
grant execute on function
    klaviyo.lock_forgetting(boolean), klaviyo.trial_basis(text, bigint),
    klaviyo.begin_trial(text, text, bigint, bigint, integer, jsonb, text)
    to klaviyo_worker, klaviyo_definer;
grant select on sequence klaviyo.forgetting to klaviyo_worker;
grant usage on sequence klaviyo.forgetting to klaviyo_definer;
