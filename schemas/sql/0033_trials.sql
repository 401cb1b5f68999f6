-- Trials: a few rows of an export, sent for real to see what becomes of them.
--
-- A trial is a run of trigger "trial". Its rows are chosen and written to the
-- outbox by who begins it; nothing is ever planned for it after that, so that any
-- worker may bring one to its end whose worker is gone. It answers no event.
alter table klaviyo.run add is_trial boolean not null default false;

alter table klaviyo.task
    add run_id bigint,  -- the trial that it began
    add kept   jsonb;   -- what a next worker needs to answer in its place
create index on klaviyo.task (run_id) where run_id is not null;

-- After run_changes_hands(), in the order of names.
create function klaviyo.trial_changes_hands() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.planned := true;
    return new;
end
$$;
create trigger trial_changes_hands before update of epoch on klaviyo.run
    for each row when (new.epoch is distinct from old.epoch and new.is_trial)
    execute function klaviyo.trial_changes_hands();

-- Begins a trial, owned by the caller. p_task_id: the task that wants it, under
-- its token; null: none. p_kept stays with the task. what: begun; busy (a run of
-- the export is going on: run_id); refused (detail says why); missing (there is no
-- such export); lost (the task is another worker's by now).
create function klaviyo.begin_trial(p_export_name text, p_worker text, p_lease_ms bigint,
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

-- Takes one that nobody works for: its worker is gone, or it is parked and its
-- wait is over. No row: it goes on elsewhere, waits, or has ended.
create function klaviyo.retake_trial(p_run_id bigint, p_worker text, p_lease_ms bigint)
returns table (run_id bigint, take_id uuid, epoch integer, export_id bigint)
language plpgsql as $$
begin
    perform from klaviyo.run r
    where r.run_id = p_run_id and r.is_trial and r.state = 'running'
      and (r.parked_until < clock_timestamp()
           or (r.parked_until is null and r.lease_until < clock_timestamp()))
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
end
$$;

revoke execute on function
    klaviyo.trial_changes_hands(),
    klaviyo.begin_trial(text, text, bigint, bigint, integer, jsonb),
    klaviyo.retake_trial(bigint, text, bigint) from public;
