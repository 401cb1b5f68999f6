-- What people are told about what stands in the way of their runs.

-- -- connections that need attention ------------------------------------------------

-- Why a run of the connection ends, and what helps. A key that Klaviyo refused may work after all;
-- what we say of a key ourselves (add_key_pair(), check_account()) another key ends, and nothing else.
create function klaviyo.attention_detail(p_connection text, p_reason text) returns text
language sql immutable as $$
    select format('connection %s needs attention (%s): run connection %s', p_connection,
                  case p_reason when 'key_refused' then 'Klaviyo refused its key' else p_reason end,
                  case when p_reason like 'its key %' then 'rotate-key' else 'verify or rotate-key' end)
$$;

-- As before; the queued runs end with the reason.
create or replace function klaviyo.mark_attention(p_connection_id bigint, p_reason text,
                                                  p_sealed_key bytea default null) returns boolean
language plpgsql as $$
declare
    v_name text;
    v_run_id bigint;
begin
    select c.name into v_name from klaviyo.connection c
    where c.connection_id = p_connection_id for no key update;
    if p_sealed_key is not null and exists (
        select from klaviyo.connection_key k
        where k.connection_id = p_connection_id and k.sealed_key <> p_sealed_key) then
        return false;
    end if;
    update klaviyo.connection
    set attention_reason = p_reason, attention_at = clock_timestamp()
    where connection_id = p_connection_id;
    for v_run_id in
        select r.run_id from klaviyo.run r
        join klaviyo.export x using (export_id)
        where x.connection_id = p_connection_id and r.state = 'queued'
        order by r.run_id for update of r
    loop
        perform klaviyo.close_run(v_run_id, 'failed', 'connection_needs_attention',
                                  klaviyo.attention_detail(v_name, p_reason));
    end loop;
    return true;
end
$$;

-- As before, with these words.
create or replace function klaviyo.obstacle(p_export_id bigint, p_is_trial boolean, out state text,
                                            out reason text, out detail text)
language plpgsql as $$
declare
    v klaviyo.export;
    c klaviyo.connection;
begin
    select * into v from klaviyo.export where export_id = p_export_id for key share;
    if not found then
        state := 'cancelled'; reason := 'export_removed'; detail := 'the export was removed';
    elsif v.paused and not p_is_trial then
        state := 'cancelled'; reason := 'export_paused';
        detail := 'the export is paused: after export resume the next refresh runs it';
    else
        select * into c from klaviyo.connection where connection_id = v.connection_id;
        if c.attention_reason is not null then
            state := 'failed'; reason := 'connection_needs_attention';
            detail := klaviyo.attention_detail(c.name, c.attention_reason);
        end if;
    end if;
end
$$;

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
            'connection_needs_attention', klaviyo.attention_detail(p_connection, p_attention),
            clock_timestamp())
    returning * into v;
    insert into klaviyo.request_run values (p_request_id, v.run_id);
    perform klaviyo.write_outcome(v);
end
$$;

create or replace function klaviyo.begin_trial(p_export_name text, p_worker text, p_lease_ms bigint,
                                               p_task_id bigint, p_token integer, p_kept jsonb,
                                               p_basis text)
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
        detail := klaviyo.attention_detail(c.name, c.attention_reason);
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

-- -- who may cancel a run ---------------------------------------------------------------

-- As before, and it says who may: a role is not what is missing.
create or replace function klaviyo.cancel_run(p_run_id bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.run;
begin
    perform klaviyo.bound_transaction();
    select * into v from klaviyo.run r where r.run_id = p_run_id;
    if not found or not klaviyo.may_cancel(v) then
        raise insufficient_privilege using message =
            'this run is not one that you may cancel: only an administrator may, or who made the export';
    end if;
    select * into v from klaviyo.run r where r.run_id = p_run_id for update;
    if v.state not in ('queued', 'running') then
        return v.state;
    end if;
    perform klaviyo.audit_write('cancel', 'run', p_run_id::text,
                                jsonb_build_object('export', v.export_name));
    if v.state = 'queued' or v.lease_until < clock_timestamp() then
        perform klaviyo.close_run(p_run_id, 'cancelled', 'cancelled_by',
                                  format('cancelled by %s; %s rows had been accepted',
                                         session_user, v.accepted_rows));
        return 'ended';
    end if;
    update klaviyo.run set cancelled_by = coalesce(cancelled_by, session_user)
    where run_id = p_run_id;
    return 'asked';
end
$$;

revoke execute on function klaviyo.attention_detail(text, text) from public;
-- Workers of the version before, until rights.sql has run.
grant execute on function klaviyo.attention_detail(text, text) to klaviyo_worker, klaviyo_definer;
