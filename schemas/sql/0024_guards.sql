-- Guards between the plan of a run and its first import: what an export says of
-- them, and what events confirm.

-- max_invalid: percent of the members read. flows_known: that the list's flows
-- begin for new addresses is wanted.
alter table klaviyo.export
    add max_invalid integer not null default 20 check (max_invalid between 0 and 100),
    add size_guard boolean not null default true,
    add plan text not null default 'warn' check (plan in ('warn', 'stop', 'ignore')),
    add flows_known boolean not null default false;

-- Names of guards; null: none. A run is passed by the guards that the events
-- confirm which it answers, and no other run is: so each counts once.
alter table klaviyo.request add confirm text[];
alter table klaviyo.run add confirm text[];

create function klaviyo.united(p_one text[], p_other text[]) returns text[]
language sql immutable as $$
    select array_agg(distinct name order by name) from unnest(p_one || p_other) as u(name)
$$;

-- An event that goes on in another queued run takes along what it confirms.
create function klaviyo.confirm_run() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    update klaviyo.run r
    set confirm = klaviyo.united(r.confirm, q.confirm)
    from klaviyo.request q
    where q.request_id = new.request_id and q.confirm is not null
      and r.run_id = new.run_id and r.state = 'queued';
    return null;
end
$$;
create trigger confirm_run after insert on klaviyo.request_run
    for each row execute function klaviyo.confirm_run();

-- What an event confirms, once it is known which runs answer it. Delivered again
-- it confirms nothing more. A run that is just being taken is passed over: it
-- answers an event that was published again, and knows from the first one.
create function klaviyo.confirm_guards(p_request_id bigint, p_guards text[]) returns void
language plpgsql as $$
begin
    update klaviyo.request q set confirm = p_guards
    where q.request_id = p_request_id and q.confirm is null;
    if not found then
        return;
    end if;
    update klaviyo.run r set confirm = klaviyo.united(r.confirm, p_guards)
    where r.run_id in (select o.run_id from klaviyo.run o
                       join klaviyo.request_run a using (run_id)
                       where a.request_id = p_request_id and o.state = 'queued'
                       order by o.run_id for no key update of o skip locked);
end
$$;

-- As before; p_confirm: for each event the names of guards, separated by commas.
create function klaviyo.take_in(p_events klaviyo.event[], p_lock_ms integer, p_one_by_one boolean,
                                p_confirm text[])
returns table (request_id bigint, state text)
language plpgsql as $$
declare
    v record;
begin
    for v in
        select t.request_id, t.state, t.n
        from klaviyo.take_in(p_events, p_lock_ms, p_one_by_one) with ordinality
             as t(request_id, state, n)
    loop
        if v.state = 'open' and p_confirm[v.n::integer] <> '' then
            perform klaviyo.confirm_guards(v.request_id, string_to_array(p_confirm[v.n::integer], ','));
        end if;
        request_id := v.request_id;
        state := v.state;
        return next;
    end loop;
end
$$;

-- -- what a draft can say --------------------------------------------------------

-- The columns of an export that a draft names as they are.
create function klaviyo.draft_columns() returns text[]
language sql immutable as $$
    select '{max_profiles,on_leave,max_invalid,size_guard,plan,flows_known}'::text[]
$$;

-- An export's row as a draft changes it; members that are absent stay.
create or replace function klaviyo.drafted_export(x klaviyo.export, p_draft jsonb)
returns klaviyo.export language plpgsql stable as $$
begin
    if p_draft ? 'connection' then
        x.connection_id := klaviyo.usable_connection(p_draft ->> 'connection');
    end if;
    x.list_id := coalesce(p_draft ->> 'list', x.list_id);
    x.email_path := coalesce(klaviyo.texts(p_draft -> 'email_path'), x.email_path);
    return jsonb_populate_record(x, (
        select coalesce(jsonb_object_agg(d.key, d.value), '{}') from jsonb_each(p_draft) d
        where d.key = any (klaviyo.draft_columns()) and d.value <> 'null'));
end
$$;

-- Writes the columns that a draft can change.
create or replace function klaviyo.store_export(x klaviyo.export) returns void
language sql as $$
    update klaviyo.export
    set connection_id = x.connection_id, list_id = x.list_id, email_path = x.email_path,
        max_profiles = x.max_profiles, on_leave = x.on_leave, max_invalid = x.max_invalid,
        size_guard = x.size_guard, plan = x.plan, flows_known = x.flows_known
    where export_id = x.export_id
$$;

revoke execute on function
    klaviyo.united(text[], text[]), klaviyo.confirm_run(), klaviyo.confirm_guards(bigint, text[]),
    klaviyo.take_in(klaviyo.event[], integer, boolean, text[]), klaviyo.draft_columns()
    from public;
