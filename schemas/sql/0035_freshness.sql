-- When a list was last brought up to date, and how often that is expected.

-- Exports without an expectation (null) are never stale.
alter table klaviyo.export
    add expect_every_s bigint check (expect_every_s between 60 and 366 * 86400);

-- The last run of each export that succeeded. Runs go after a while; this stays as
-- long as the export.
create table klaviyo.export_success (
    export_id bigint primary key references klaviyo.export on delete cascade,
    run_id    bigint not null,
    at        timestamptz not null,
    members   bigint not null -- that were read
);

insert into klaviyo.export_success (export_id, run_id, at, members)
select distinct on (r.export_id) r.export_id, r.run_id, r.finished_at, r.read_rows
from klaviyo.run r
where r.state in ('succeeded', 'succeeded_with_rejections') and r.export_id is not null
  and r.trigger <> 'trial'
order by r.export_id, r.finished_at desc;

-- As before, and a success is kept. A trial is none.
create or replace function klaviyo.run_has_ended() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.write_outcome(new);
    if new.state in ('succeeded', 'succeeded_with_rejections') and new.export_id is not null
       and new.trigger <> 'trial' then
        insert into klaviyo.export_success as s (export_id, run_id, at, members)
        values (new.export_id, new.run_id, new.finished_at, new.read_rows)
        on conflict (export_id) do update
        set run_id = excluded.run_id, at = excluded.at, members = excluded.members;
    end if;
    return null;
end
$$;

-- Another list: nothing has succeeded there yet.
create function klaviyo.export_has_moved() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from klaviyo.export_success where export_id = new.export_id;
    return null;
end
$$;
create trigger export_has_moved after update on klaviyo.export
    for each row when ((new.connection_id, new.list_id) is distinct from (old.connection_id, old.list_id))
    execute function klaviyo.export_has_moved();

-- What is expected of an export now: nothing of one that somebody has paused; one that
-- was paused because its maker lost a right is missed like any other.
create function klaviyo.expected_every_s(p_expect_every_s bigint, p_paused boolean,
                                         p_pause_reason text) returns bigint
language sql immutable as $$
    select case when not (p_paused and p_pause_reason is null) then p_expect_every_s end
$$;

-- p_since: the last success; where there is none, the last change of the export.
create function klaviyo.is_stale(p_expected_every_s bigint, p_since timestamptz) returns boolean
language sql volatile as $$
    select coalesce(p_since < clock_timestamp() - p_expected_every_s * interval '1 s', false)
$$;

-- "26h", as --expect-every takes it; null stays null.
create function klaviyo.duration_text(p_seconds bigint) returns text
language sql immutable as $$
    select case when p_seconds % 86400 = 0 then p_seconds / 86400 || 'd'
                when p_seconds % 3600 = 0 then p_seconds / 3600 || 'h'
                else p_seconds / 60 || 'm' end
$$;

-- Ends no run: the export does what it did. p_seconds null: nothing is expected any
-- more. null: there is no such export; -1: nothing differs.
create function klaviyo.expect_export(p_name text, p_seconds bigint) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := klaviyo.lock_usable_export(p_name);
begin
    if v_id is null then
        return null;
    end if;
    update klaviyo.export set expect_every_s = p_seconds
    where export_id = v_id and expect_every_s is distinct from p_seconds;
    return case when found then 0 else -1 end;
end
$$;

-- As before; workers show it, too.
create or replace function klaviyo.connection_state(p_connection_id bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when c.attention_reason is not null then 'needs attention'
                when c.verified_at is null then 'not verified' else 'ready' end
    from klaviyo.connection c
    where c.connection_id = p_connection_id
      and (klaviyo.may_use(c.connection_id)
           or pg_has_role(klaviyo.caller(), 'klaviyo_worker', 'member'))
$$;

alter table klaviyo.export_success enable row level security;
create policy everything on klaviyo.export_success to klaviyo_admin, klaviyo_worker using (true);
create policy granted on klaviyo.export_success for select to klaviyo_contributor
    using (exists (select from klaviyo.export x where x.export_id = export_success.export_id));
grant select on klaviyo.export_success to klaviyo_admin, klaviyo_contributor, klaviyo_worker;
revoke execute on function
    klaviyo.export_has_moved(), klaviyo.expected_every_s(bigint, boolean, text),
    klaviyo.is_stale(bigint, timestamptz), klaviyo.duration_text(bigint),
    klaviyo.expect_export(text, bigint)
    from public;
