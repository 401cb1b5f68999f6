-- Changes to connections and exports while runs are going on. What a command
-- may not do with its own role's rights it does through the functions here,
-- each of which asks by itself whether the user may.

-- What `connection verify` saw the key do.
alter table klaviyo.connection add scopes text[];
grant update (scopes) on klaviyo.connection to klaviyo_worker;

-- The events of a run that is about to be cancelled go to the export's queued
-- run, made where there is none.
create function klaviyo.hand_over(p_run_id bigint) returns void
language plpgsql as $$
declare
    v_next bigint;
begin
    insert into klaviyo.run (export_id, export_name, connection_name, trigger, full_refresh,
                             confirm_removals)
    select r.export_id, r.export_name, r.connection_name, r.trigger, r.full_refresh,
           r.confirm_removals
    from klaviyo.run r
    where r.run_id = p_run_id
      and exists (select from klaviyo.request_run a where a.run_id = p_run_id)
    on conflict (export_id) where state = 'queued'
    do update set full_refresh = run.full_refresh or excluded.full_refresh,
                  confirm_removals = run.confirm_removals or excluded.confirm_removals
    returning run_id into v_next;
    if v_next is null then
        return;
    end if;
    insert into klaviyo.request_run
    select a.request_id, v_next from klaviyo.request_run a where a.run_id = p_run_id
    on conflict do nothing;
    delete from klaviyo.request_run where run_id = p_run_id;
end
$$;

-- Ends what an export has queued and running. A changed export's queued run
-- stays, as it has read nothing yet and reads the new settings; but it is
-- locked, so that nobody takes it before the change is there to be read.
create function klaviyo.stop_runs(p_export_id bigint, p_reason text) returns void
language plpgsql as $$
declare
    v klaviyo.run;
begin
    for v in
        select * from klaviyo.run r
        where r.export_id = p_export_id and r.state in ('queued', 'running')
        order by r.run_id for update
    loop
        continue when v.state = 'queued' and p_reason = 'export_changed';
        if p_reason = 'export_changed' then
            perform klaviyo.hand_over(v.run_id);
        end if;
        perform klaviyo.close_run(
            v.run_id, 'cancelled', p_reason,
            format('%s by %s; %s rows had been accepted',
                   case p_reason when 'export_changed' then 'the export was changed'
                                 when 'export_paused' then 'the export was paused'
                                 else 'the export was removed' end,
                   session_user, v.accepted_rows));
    end loop;
    perform pg_notify('klaviyo_worker', 'queued');
end
$$;

-- The first statement of every change to an export: locks it against new
-- events, then ends its runs. Who writes for a run or takes one holds the run
-- and wants no more of the export than FOR KEY SHARE, which this lock grants;
-- who takes events in locks the export first, as this does. So nobody waits in
-- a circle, and from here to the commit there is no run of this export to take.
create function klaviyo.lock_export(p_export_id bigint, p_reason text) returns void
language plpgsql as $$
begin
    perform from klaviyo.export where export_id = p_export_id for no key update;
    perform klaviyo.stop_runs(p_export_id, p_reason);
end
$$;

create function klaviyo.begin_change(p_export_id bigint, p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_reason not in ('export_changed', 'export_paused', 'export_removed') then
        raise invalid_parameter_value using message = 'not a reason to end a run';
    end if;
    if not exists (select from klaviyo.export x where x.export_id = p_export_id
                   and klaviyo.may_use(x.connection_id, session_user)) then
        raise insufficient_privilege using message = 'this export is not one that you may change';
    end if;
    perform klaviyo.lock_export(p_export_id, p_reason);
end
$$;

-- What a change of an export brings with it, whoever makes it and how.
create function klaviyo.export_is_changing() returns trigger
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
        -- Another list: nothing of what was sent is on it.
        new.list_name := null;
        new.list_checked_at := null;
        delete from klaviyo.ledger where export_id = old.export_id;
        delete from klaviyo.batch where export_id = old.export_id;
        update klaviyo.run r set connection_name = c.name
        from klaviyo.connection c
        where r.export_id = old.export_id and r.state = 'queued'
          and c.connection_id = new.connection_id;
    end if;
    return new;
end
$$;
create trigger export_is_changing before update on klaviyo.export
    for each row execute function klaviyo.export_is_changing();

-- Runs stay, for the record; what is remembered about people does not.
create function klaviyo.export_is_going() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.stop_runs(old.export_id, 'export_removed');
    delete from klaviyo.ledger where export_id = old.export_id;
    delete from klaviyo.rejection j using klaviyo.run r
    where r.export_id = old.export_id and j.run_id = r.run_id;
    return old;
end
$$;
create trigger export_is_going before delete on klaviyo.export
    for each row execute function klaviyo.export_is_going();

-- Who changed a key, and when, is not for the one who changes it to say.
create function klaviyo.key_is_changing() returns trigger
language plpgsql as $$
begin
    new.changed_at := clock_timestamp();
    new.changed_by := session_user;
    return new;
end
$$;
create trigger key_is_changing before update on klaviyo.connection_key
    for each row execute function klaviyo.key_is_changing();

-- After a revoke: exports pause whose maker may not use the connection any
-- more. Their names.
create function klaviyo.pause_unusable(p_connection text, p_role text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.export;
    v_names text;
begin
    if not klaviyo.is_admin(session_user) then
        raise insufficient_privilege using message = 'only an administrator may do this';
    end if;
    for v in
        select x.* from klaviyo.export x
        join klaviyo.connection c using (connection_id)
        left join pg_roles r on r.rolname = x.created_by
        where c.name = p_connection and not x.paused
          and not coalesce(klaviyo.may_use(x.connection_id, r.rolname), false)
        order by x.name
    loop
        perform klaviyo.lock_export(v.export_id, 'export_paused');
        update klaviyo.export
        set paused = true,
            pause_reason = format('%s may no longer use connection %s', p_role, p_connection)
        where export_id = v.export_id;
        v_names := concat_ws(', ', v_names, v.name);
    end loop;
    return v_names;
end
$$;

-- What upstream's data say about segments and the field with the address:
-- counts only, for those who may not read the data themselves.
create function klaviyo.look_at_source(p_segments text[], p_path text[],
                                       out unknown_segments text, out members bigint,
                                       out with_email bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select string_agg(given.segment_id, ', ' order by given.segment_id) into unknown_segments
    from unnest(p_segments) as given(segment_id)
    where not exists (select from insights.segment s where s.segment_id = given.segment_id);
    select count(*), count(*) filter (where jsonb_typeof(m.attributes #> p_path) = 'string')
    into members, with_email
    from insights.segment_profile m where m.segment_id = any (p_segments);
end
$$;

-- A key that needs attention, marked by an administrator's command.
create function klaviyo.need_attention(p_connection_id bigint, p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not klaviyo.is_admin(session_user)
       and not pg_has_role(session_user, 'klaviyo_worker', 'member') then
        raise insufficient_privilege using message = 'only an administrator may do this';
    end if;
    perform klaviyo.mark_attention(p_connection_id, p_reason);
end
$$;

-- Stops a run: at once where nobody works for it, else its owner learns of it
-- with its next beat. ended, asked, or the state in which it had ended before.
create function klaviyo.cancel_run(p_run_id bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.run;
begin
    select * into v from klaviyo.run r where r.run_id = p_run_id for update;
    if not found or not (klaviyo.is_admin(session_user) or exists (
            select from klaviyo.export x
            where x.export_id = v.export_id and x.created_by = session_user
              and klaviyo.may_use(x.connection_id, session_user))) then
        raise insufficient_privilege using message = 'this run is not one that you may cancel';
    end if;
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

-- A run as people and programs see it. waiting: nothing can be done before
-- waiting_until, or its worker is gone.
create function klaviyo.shown_state(r klaviyo.run) returns text
language sql stable as $$
    select case when r.state = 'running' and (r.waiting_until > clock_timestamp()
                                              or r.lease_until < clock_timestamp())
                then 'waiting' else r.state end
$$;

create function klaviyo.run_json(r klaviyo.run) returns json
language sql stable as $$
    select json_build_object(
        'id', r.run_id, 'export', r.export_name, 'connection', r.connection_name,
        'trigger', r.trigger, 'full', r.full_refresh, 'state', klaviyo.shown_state(r),
        'reason', r.reason, 'detail', r.detail, 'queued_at', klaviyo.utc(r.queued_at),
        'started_at', klaviyo.utc(r.started_at), 'finished_at', klaviyo.utc(r.finished_at),
        'waiting_until', case when r.state = 'running' and r.waiting_until > clock_timestamp()
                              then klaviyo.utc(r.waiting_until) end,
        'worker', r.worker,
        'events', (select count(*) from klaviyo.request_run a where a.run_id = r.run_id),
        'counts', json_build_object(
            'read', r.read_rows, 'invalid', r.invalid_rows, 'duplicate', r.duplicate_rows,
            'unchanged', r.unchanged_rows, 'selected', r.selected_rows,
            'accepted', r.accepted_rows, 'rejected', r.rejected_rows, 'left', r.left_rows,
            'removed', r.removed_rows, 'kept', r.kept_rows, 'requests', r.requests,
            'throttled', r.throttled, 'retries', r.retries),
        'requests', r.requests, 'throttled', r.throttled, 'retries', r.retries)
$$;

-- The runs that answer an event, as far as the user may see them (and those of
-- exports that are gone). null: no worker has taken the event in yet.
create function klaviyo.follow_event(p_source text, p_event_id text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select json_build_object(
        'state', q.state, 'reason', q.reason,
        'runs', (select coalesce(json_agg(klaviyo.run_json(r) order by r.export_name), '[]')
                 from klaviyo.request_run a join klaviyo.run r using (run_id)
                 left join klaviyo.export x using (export_id)
                 where a.request_id = q.request_id
                   and (x.export_id is null or klaviyo.may_use(x.connection_id, session_user))))
    from klaviyo.request q
    where q.source = p_source and q.event_id = p_event_id
    order by q.request_id desc limit 1
$$;

revoke execute on function
    klaviyo.hand_over(bigint), klaviyo.stop_runs(bigint, text), klaviyo.lock_export(bigint, text),
    klaviyo.begin_change(bigint, text), klaviyo.export_is_changing(), klaviyo.export_is_going(),
    klaviyo.key_is_changing(), klaviyo.pause_unusable(text, text),
    klaviyo.look_at_source(text[], text[]), klaviyo.need_attention(bigint, text),
    klaviyo.cancel_run(bigint), klaviyo.shown_state(klaviyo.run), klaviyo.run_json(klaviyo.run),
    klaviyo.follow_event(text, text)
    from public;
grant execute on function klaviyo.begin_change(bigint, text), klaviyo.cancel_run(bigint),
                          klaviyo.look_at_source(text[], text[]), klaviyo.follow_event(text, text)
    to klaviyo_admin, klaviyo_contributor;
grant execute on function klaviyo.pause_unusable(text, text) to klaviyo_admin;
grant execute on function klaviyo.need_attention(bigint, text) to klaviyo_admin, klaviyo_worker;
grant execute on function klaviyo.shown_state(klaviyo.run), klaviyo.run_json(klaviyo.run)
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;
