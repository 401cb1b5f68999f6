-- What somebody said of one list, account, key or hour is not true of the next one.

-- -- of another list or account --------------------------------------------------

-- As before, but that the flows of a list are known was said of that list: an export that
-- goes to another one takes it along only where the draft says it again.
create or replace function klaviyo.drafted_export(x klaviyo.export, p_draft jsonb)
returns klaviyo.export language plpgsql stable as $$
declare
    v_old klaviyo.export := x;
begin
    if p_draft ? 'connection' then
        x.connection_id := klaviyo.usable_connection(p_draft ->> 'connection');
    end if;
    x.list_id := coalesce(p_draft ->> 'list', x.list_id);
    if (x.connection_id, x.list_id) is distinct from (v_old.connection_id, v_old.list_id) then
        x.flows_known := false;
    end if;
    x.email_path := coalesce(klaviyo.texts(p_draft -> 'email_path'), x.email_path);
    return jsonb_populate_record(x, (
        select coalesce(jsonb_object_agg(d.key, d.value), '{}') from jsonb_each(p_draft) d
        where d.key = any (klaviyo.draft_columns()) and d.value <> 'null'));
end
$$;

-- As before, and the next run has what the run's events confirmed from the run itself: an
-- event may have confirmed it for several exports, of which one has gone to another list.
create or replace function klaviyo.hand_over(p_run_id bigint) returns void
language plpgsql as $$
declare
    v_next bigint;
begin
    insert into klaviyo.run (export_id, export_name, connection_name, trigger, full_refresh,
                             confirm_removals, confirm)
    select r.export_id, r.export_name, r.connection_name, r.trigger, r.full_refresh,
           r.confirm_removals, r.confirm
    from klaviyo.run r
    where r.run_id = p_run_id
      and exists (select from klaviyo.request_run a where a.run_id = p_run_id)
    on conflict (export_id) where state = 'queued'
    do update set full_refresh = run.full_refresh or excluded.full_refresh,
                  confirm_removals = run.confirm_removals or excluded.confirm_removals,
                  confirm = klaviyo.united(run.confirm, excluded.confirm)
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

-- The queued run of an export and its events confirm these guards no more. What an event
-- confirms stays known to be read (not null): delivered again it confirms nothing.
create function klaviyo.unconfirm(p_export_id bigint, p_guards text[]) returns void
language sql as $$
    update klaviyo.request q
    set confirm = array(select name from unnest(q.confirm) as u(name) where name <> all (p_guards))
    from klaviyo.request_run a
    join klaviyo.run r using (run_id)
    where a.request_id = q.request_id and r.export_id = p_export_id and r.state = 'queued'
      and q.confirm && p_guards;
    update klaviyo.run r
    set confirm = array(select name from unnest(r.confirm) as u(name) where name <> all (p_guards))
    where r.export_id = p_export_id and r.state = 'queued' and r.confirm && p_guards;
$$;
revoke execute on function klaviyo.unconfirm(bigint, text[]) from public;

-- As before, and what was confirmed of the list before, or of its account, passes no guard
-- on this one. Confirmations that speak of the members stay.
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
    if new.connection_id <> old.connection_id then
        perform klaviyo.unconfirm(old.export_id, '{over_plan_limit}');
    end if;
    if (new.connection_id, new.list_id) is distinct from (old.connection_id, old.list_id) then
        -- Another list: nothing of what was sent is on it, or will be.
        new.list_name := null;
        new.list_checked_at := null;
        perform klaviyo.unconfirm(old.export_id, '{list_starts_flows}');
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

-- -- of another key --------------------------------------------------------------

-- As before, but what the key before was allowed says nothing of this one.
create or replace function klaviyo.replace_key(p_name text, p_account_id text, p_account_name text,
                                               p_key_pair integer, p_sealed_key bytea) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.connection;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    select * into v from klaviyo.connection where name = p_name for no key update;
    if not found then
        return false;
    end if;
    if v.account_id <> p_account_id then
        raise invalid_parameter_value using message =
            format('the key belongs to Klaviyo account %s, the connection to %s',
                   p_account_id, v.account_id);
    end if;
    update klaviyo.connection
    set attention_reason = null, attention_at = null, scopes = null,
        account_id = coalesce(p_account_id, account_id),
        account_name = coalesce(p_account_name, account_name),
        verified_at = case when p_account_id is not null then clock_timestamp() end
    where connection_id = v.connection_id;
    insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key)
    values (v.connection_id, p_key_pair, p_sealed_key)
    on conflict (connection_id) do update
    set key_pair_id = excluded.key_pair_id, sealed_key = excluded.sealed_key;
    return true;
end
$$;

-- -- of another hour -------------------------------------------------------------

-- When its maker last asked what became of it; null: not yet since it was made.
alter table klaviyo.task add asked_at timestamptz;

-- Its maker asks a few times a second, and once the database is back after a minute.
create function klaviyo.is_waited_for(t klaviyo.task) returns boolean
language sql volatile as $$
    select coalesce(t.asked_at, t.created_at)
           between clock_timestamp() - interval '2 minutes'
               and clock_timestamp() + interval '2 minutes' -- the clock may have gone back
$$;
revoke execute on function klaviyo.is_waited_for(klaviyo.task) from public;

-- As before, and notes that it was asked. A row that somebody else has in hand is noted the
-- next time.
create or replace function klaviyo.look_at_task(p_task_id bigint) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    update klaviyo.task t set asked_at = clock_timestamp()
    where t.task_id = (
        select o.task_id from klaviyo.task o
        where o.task_id = p_task_id and o.created_by = klaviyo.caller()
          and o.state in ('waiting', 'running')
          and coalesce(o.asked_at not between clock_timestamp() - interval '5 seconds'
                                          and clock_timestamp(), true)
        for no key update skip locked);
    select jsonb_build_object(
        'state', t.state, 'progress', t.progress, 'answer', t.answer, 'error', t.error,
        'again', t.again,
        'before', (select count(*) from klaviyo.task o
                   where (o.created_at, o.task_id) < (t.created_at, t.task_id) and o.state in ('waiting', 'running')),
        'served', exists (select from klaviyo.task_worker w
                          where t.kind = any (w.kinds) and klaviyo.is_there(w)
                            and klaviyo.is_for_key_pair(t.connection_id, w.key_pair_id)))
    from klaviyo.task t
    where t.task_id = p_task_id and t.created_by = klaviyo.caller()
$$;

-- As before, but what nobody waits for any more is not begun: a trial would send hours after
-- its command had lost its terminal.
create or replace function klaviyo.take_task(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                             p_kinds text[])
returns table (task_id bigint, token integer, kind text, arguments text)
language plpgsql as $$
declare
    v klaviyo.task;
begin
    insert into klaviyo.task_worker as w (worker, kinds, key_pair_id, seen_at)
    values (p_worker, p_kinds, p_key_pair, clock_timestamp())
    on conflict (worker) do update
    set kinds = excluded.kinds, key_pair_id = excluded.key_pair_id, seen_at = excluded.seen_at
    where w.seen_at not between clock_timestamp() - interval '5 seconds' and clock_timestamp();
    loop
        select t.* into v from klaviyo.task t
        where t.state in ('waiting', 'running') and t.kind = any (p_kinds)
          and not coalesce(klaviyo.lease_holds(t.lease_until), false)
          and klaviyo.is_for_key_pair(t.connection_id, p_key_pair)
        order by t.created_at, t.task_id
        limit 1 for update of t skip locked;
        if not found then
            return;
        end if;
        exit when v.token < 5 and not v.cancelled and klaviyo.is_waited_for(v);
        perform klaviyo.close_task(v.task_id, null,
            case when v.token < 5 then 'nobody had asked for its answer for two minutes'
            else 'five workers in a row did not bring it to an end: their logs say why' end,
            v.token < 5);
    end loop;
    return query
    update klaviyo.task t
    set state = 'running', token = t.token + 1, worker = p_worker, progress = null,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
    where t.task_id = v.task_id
    returning t.task_id, t.token, t.kind, t.arguments::text;
end
$$;
