-- -- a trial keeps away from a list that people are taken off ---------------------

-- The runs that take people off the list of an export.
create function klaviyo.claimers(p_export_id bigint) returns setof bigint
language sql stable as $$
    select h.run_id
    from klaviyo.export x
    join klaviyo.connection c using (connection_id)
    join klaviyo.list_claim k on k.list_id = x.list_id
                                 and (k.account_id = c.account_id or c.account_id is null)
    join klaviyo.run h on h.run_id = k.run_id
    where x.export_id = p_export_id and h.state = 'running' and h.removal_epoch = h.epoch
$$;

-- As before.
create or replace function klaviyo.list_is_claimed(p_run_id bigint) returns boolean
language sql stable as $$
    select exists (select from klaviyo.run r, klaviyo.claimers(r.export_id) as h (run_id)
                   where r.run_id = p_run_id and h.run_id <> p_run_id)
$$;

-- As before, and busy is also a list that another run takes people off: whom a trial put there
-- that run would take off, and this export would know them to be on it. detail says which.
create or replace function klaviyo.begin_trial(p_export_name text, p_worker text, p_lease_ms bigint,
                                               p_task_id bigint, p_token integer, p_kept jsonb)
returns table (what text, run_id bigint, take_id uuid, epoch integer, export_id bigint, detail text)
language plpgsql as $$
declare
    x klaviyo.export;
    c klaviyo.connection;
    r klaviyo.run;
begin
    if p_task_id is not null then
        perform from klaviyo.task t
        where t.task_id = p_task_id and t.token = p_token and t.state = 'running' for update;
        if not found then
            what := 'lost';
            return next;
            return;
        end if;
    end if;
    select * into x from klaviyo.export e where e.name = p_export_name for key share;
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
    exception when unique_violation then
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

-- As before, and no row while another run takes people off its list.
create or replace function klaviyo.retake_trial(p_run_id bigint, p_worker text, p_lease_ms bigint)
returns table (run_id bigint, take_id uuid, epoch integer, export_id bigint)
language plpgsql as $$
begin
    perform from klaviyo.run r
    where r.run_id = p_run_id and r.is_trial and r.state = 'running'
      and (r.parked_until < clock_timestamp()
           or (r.parked_until is null and r.lease_until < clock_timestamp()))
      and not klaviyo.list_is_claimed(r.run_id)
    for update skip locked;
    if not found then
        return;
    end if;
    update klaviyo.run r
    set epoch = r.epoch + 1, worker = p_worker, waiting_until = null,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms',
        lease_renewed_at = clock_timestamp(),
        backends = array[pg_backend_pid()], server_started = pg_postmaster_start_time()
    where r.run_id = p_run_id;
    return query select r.run_id, r.take_id, r.epoch, r.export_id
    from klaviyo.run r where r.run_id = p_run_id;
exception when unique_violation then
    return; -- the list was claimed meanwhile: see run_respects_claims()
end
$$;

-- -- what stands against a trial -------------------------------------------------

-- What stands against a run now; null: nothing. A trial may be of a paused export. (The function
-- of the same name without p_is_trial is for takes that go on while this is applied.)
create function klaviyo.obstacle(p_export_id bigint, p_is_trial boolean, out state text,
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
            detail := format('connection %s needs attention (%s): run connection verify or rotate-key',
                             c.name, c.attention_reason);
        end if;
    end if;
end
$$;

-- As before, by what stands against this run.
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

    select * into o from klaviyo.obstacle(v.export_id, v.is_trial);
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

-- -- what a trial is no example of ------------------------------------------------

-- As before, but a trial takes nobody off, and uses up nothing.
create or replace function klaviyo.run_keeps_confirmation() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if new.state in ('succeeded', 'succeeded_with_rejections') and not new.is_trial then
        delete from klaviyo.removal_confirmation k
        where k.export_id = new.export_id and new.reason is distinct from 'removals_withheld';
    end if;
    if new.confirm_removals and new.removed_rows = 0
       and (new.state in ('failed', 'cancelled') or new.reason = 'removals_withheld') then
        insert into klaviyo.removal_confirmation (export_id)
        select x.export_id from klaviyo.export x
        where x.export_id = new.export_id and x.on_leave = 'remove'
        on conflict do nothing;
    end if;
    return null;
end
$$;

-- As before, by the last run that is no trial.
create or replace function klaviyo.is_short(p_export_id bigint) returns boolean
language sql stable as $$
    select coalesce((select r.finished_at - r.started_at < interval '1 minute'
                     from klaviyo.run r
                     where r.export_id = p_export_id
                       and r.state in ('succeeded', 'succeeded_with_rejections')
                       and not r.is_trial
                     order by r.run_id desc limit 1), true)
       and not exists (
           select from klaviyo.export x
           join klaviyo.connection c using (connection_id)
           join klaviyo.connection d
             on coalesce(d.account_id, d.connection_id::text)
                = coalesce(c.account_id, c.connection_id::text)
           join klaviyo.export y on y.connection_id = d.connection_id
           join klaviyo.run r on r.export_id = y.export_id
           where x.export_id = p_export_id and r.state = 'running' and r.parked_until is null
             and exists (select from klaviyo.connection e
                         join klaviyo.export z using (connection_id)
                         where coalesce(e.account_id, e.connection_id::text)
                               <> coalesce(c.account_id, c.connection_id::text)))
$$;

revoke execute on function
    klaviyo.claimers(bigint), klaviyo.obstacle(bigint, boolean) from public;
