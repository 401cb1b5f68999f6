-- Who did what to which connection or export, and when. Written by triggers,
-- whatever way the change was made; append only; kept when the object goes.
create table klaviyo.audit (
    audit_id bigint generated always as identity primary key,
    at       timestamptz not null default clock_timestamp(),
    by_user  text not null default session_user,
    action   text not null,
    object   text not null check (object in ('connection', 'export', 'key pair', 'run')),
    name     text not null,
    detail   jsonb not null default '{}' -- no key, no address
);
create index on klaviyo.audit (object, name);

alter table klaviyo.audit enable row level security;
create policy everything on klaviyo.audit for select to klaviyo_admin using (true);
grant select on klaviyo.audit to klaviyo_admin;

create function klaviyo.audit_is_append_only() returns trigger
language plpgsql as $$
begin
    raise insufficient_privilege using message = 'the audit is append only';
end
$$;
create trigger audit_is_append_only before update or delete or truncate on klaviyo.audit
    for each statement execute function klaviyo.audit_is_append_only();

-- null members of the detail are left out. An object without a name is one
-- that is going: its own removal says so.
create function klaviyo.audit_write(p_action text, p_object text, p_name text, p_detail jsonb)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_name is not null then
        insert into klaviyo.audit (action, object, name, detail)
        values (p_action, p_object, p_name, jsonb_strip_nulls(p_detail));
    end if;
end
$$;

create function klaviyo.audit_key_pair() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.audit_write('add', 'key pair', new.key_pair_id::text, '{}');
    return null;
end
$$;
create trigger audit after insert on klaviyo.key_pair
    for each row execute function klaviyo.audit_key_pair();

create function klaviyo.audit_connection() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        perform klaviyo.audit_write('add', 'connection', new.name, jsonb_build_object(
            'consent_version', new.consent_version, 'account', new.account_id));
    elsif tg_op = 'DELETE' then
        perform klaviyo.audit_write('remove', 'connection', old.name,
                                    jsonb_build_object('account', old.account_id));
    elsif new.attention_reason is distinct from old.attention_reason
          and new.attention_reason is not null then
        perform klaviyo.audit_write('needs attention', 'connection', new.name,
                                    jsonb_build_object('reason', new.attention_reason));
    elsif new.verified_at is distinct from old.verified_at and new.verified_at is not null then
        perform klaviyo.audit_write('verify', 'connection', new.name,
                                    jsonb_build_object('account', new.account_id));
    end if;
    return null;
end
$$;
create trigger audit after insert or update or delete on klaviyo.connection
    for each row execute function klaviyo.audit_connection();

create function klaviyo.audit_connection_key() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.audit_write('rotate key', 'connection',
        (select c.name from klaviyo.connection c where c.connection_id = new.connection_id),
        jsonb_build_object('key_pair', new.key_pair_id));
    return null;
end
$$;
create trigger audit after update on klaviyo.connection_key
    for each row execute function klaviyo.audit_connection_key();

create function klaviyo.audit_connection_grant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.connection_grant := coalesce(new, old);
begin
    perform klaviyo.audit_write(
        case tg_op when 'INSERT' then 'grant' else 'revoke' end, 'connection',
        (select c.name from klaviyo.connection c where c.connection_id = v.connection_id),
        jsonb_build_object('role', v.role_name));
    return null;
end
$$;
create trigger audit after insert or delete on klaviyo.connection_grant
    for each row execute function klaviyo.audit_connection_grant();

-- What an export says, with the names of things.
create function klaviyo.audit_of_export(x klaviyo.export) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'connection', (select c.name from klaviyo.connection c
                       where c.connection_id = x.connection_id),
        'list', x.list_id, 'email_field', array_to_string(x.email_path, '.'),
        'max_profiles', x.max_profiles)
$$;

create function klaviyo.audit_export() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        perform klaviyo.audit_write('add', 'export', new.name, klaviyo.audit_of_export(new));
        return null;
    elsif tg_op = 'DELETE' then
        perform klaviyo.audit_write('remove', 'export', old.name, klaviyo.audit_of_export(old));
        return null;
    end if;
    if new.paused <> old.paused then
        perform klaviyo.audit_write(case when new.paused then 'pause' else 'resume' end, 'export',
                                    new.name, jsonb_build_object('reason', new.pause_reason));
    end if;
    if (new.connection_id, new.list_id, new.email_path, new.max_profiles) is distinct from
       (old.connection_id, old.list_id, old.email_path, old.max_profiles) then
        perform klaviyo.audit_write('change', 'export', new.name, (
            select jsonb_object_agg(a.key, jsonb_build_object('from', b.value, 'to', a.value))
            from jsonb_each(klaviyo.audit_of_export(old)) b
            join jsonb_each(klaviyo.audit_of_export(new)) a using (key)
            where a.value <> b.value));
    end if;
    return null;
end
$$;
create trigger audit after insert or update or delete on klaviyo.export
    for each row execute function klaviyo.audit_export();

-- Segments and fields: one line for all rows of a statement.
create function klaviyo.audit_segments() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v record;
begin
    for v in
        select x.name, jsonb_agg(c.segment_id order by c.segment_id) as segments
        from changed c join klaviyo.export x using (export_id) group by x.name
    loop
        perform klaviyo.audit_write(
            case tg_op when 'INSERT' then 'add segments' else 'drop segments' end, 'export', v.name,
            jsonb_build_object('segments', v.segments));
    end loop;
    return null;
end
$$;
create trigger audit_added after insert on klaviyo.export_segment
    referencing new table as changed for each statement execute function klaviyo.audit_segments();
create trigger audit_dropped after delete on klaviyo.export_segment
    referencing old table as changed for each statement execute function klaviyo.audit_segments();

create function klaviyo.audit_fields() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v record;
begin
    for v in
        select x.name, jsonb_object_agg(c.target || ' ' || c.name, array_to_string(c.path, '.'))
                       as fields
        from changed c join klaviyo.export x using (export_id) group by x.name
    loop
        perform klaviyo.audit_write(
            case tg_op when 'INSERT' then 'add fields' else 'drop fields' end, 'export', v.name,
            jsonb_build_object('fields', v.fields));
    end loop;
    return null;
end
$$;
create trigger audit_added after insert on klaviyo.export_field
    referencing new table as changed for each statement execute function klaviyo.audit_fields();
create trigger audit_dropped after delete on klaviyo.export_field
    referencing old table as changed for each statement execute function klaviyo.audit_fields();

revoke execute on function
    klaviyo.audit_is_append_only(), klaviyo.audit_write(text, text, text, jsonb),
    klaviyo.audit_key_pair(), klaviyo.audit_connection(), klaviyo.audit_connection_key(),
    klaviyo.audit_connection_grant(), klaviyo.audit_of_export(klaviyo.export),
    klaviyo.audit_export(), klaviyo.audit_segments(), klaviyo.audit_fields()
    from public;
