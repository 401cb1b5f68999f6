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
