-- People change what is set up through functions, and hold no right on a table
-- that would let them lock it or its rows. The functions that do with their
-- owner's rights what the caller may not belong to klaviyo_definer, which may
-- write rows of this schema and nothing else; what calls code of the site
-- belongs to klaviyo_source, which may read the site's relations and nothing
-- else. Who has which right stands in rights.sql.

-- -- who asks -------------------------------------------------------------

-- The role that was set, or who logged in. A function with its owner's rights
-- cannot ask current_user, which is the owner there.
create function klaviyo.caller() returns name
language sql stable as $$
    select case current_setting('role') when 'none' then session_user
           else current_setting('role')::name end
$$;

create function klaviyo.this_server() returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (select system_identifier from pg_control_system());
exception when insufficient_privilege then
    return 0; -- a provider that does not tell
end
$$;

-- A grant is to a role, not to its name: one that is made anew under the name
-- has another number. In a copy of the database on another server numbers mean
-- nothing, so the name counts there until `migrate` binds it.
alter table klaviyo.connection_grant add role_id oid, add server bigint;

create function klaviyo.granted_role(g klaviyo.connection_grant) returns oid
language sql stable as $$
    select r.oid from pg_roles r
    where case when g.server = klaviyo.this_server() then r.oid = g.role_id
               else r.rolname = g.role_name end
$$;

create function klaviyo.grant_is_bound() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    new.role_id := (select r.oid from pg_roles r where r.rolname = new.role_name);
    new.server := klaviyo.this_server();
    return new;
end
$$;
create trigger grant_is_bound before insert or update on klaviyo.connection_grant
    for each row execute function klaviyo.grant_is_bound();

-- Grants of roles that are gone go; roles that were renamed are called by their
-- new names; those of a copied database are bound to the roles of this server.
create function klaviyo.tidy_grants() returns void
language plpgsql as $$
begin
    delete from klaviyo.connection_grant g where klaviyo.granted_role(g) is null;
    update klaviyo.connection_grant g set role_name = r.rolname
    from pg_roles r
    where r.oid = klaviyo.granted_role(g)
      and (r.rolname <> g.role_name or g.server <> klaviyo.this_server());
end
$$;

update klaviyo.connection_grant set role_name = role_name;

-- May this user make exports on the connection? For functions of ours alone:
-- it would tell people of each other.
create or replace function klaviyo.may_use(p_connection_id bigint, p_user name) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.is_admin(p_user) or exists (
        select from klaviyo.connection_grant g
        where g.connection_id = p_connection_id
          and pg_has_role(p_user, klaviyo.granted_role(g), 'member'))
$$;

-- May whoever asks?
create function klaviyo.may_use(p_connection_id bigint) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.may_use(p_connection_id, klaviyo.caller())
$$;

alter policy granted on klaviyo.connection using (klaviyo.may_use(connection_id));
alter policy granted on klaviyo.export using (klaviyo.may_use(connection_id));

create policy shown on klaviyo.key_pair for select to klaviyo_contributor, klaviyo_viewer
    using (true); -- the public half: it seals, it opens nothing

create function klaviyo.must_be_admin() returns void
language plpgsql as $$
begin
    if not klaviyo.is_admin(klaviyo.caller()) then
        raise insufficient_privilege using message = 'only an administrator may do this';
    end if;
end
$$;

-- The caller's transaction is about to hold locks that workers wait for: where
-- it is left open, it ends by itself.
create function klaviyo.bound_transaction() returns void
language sql as $$
    select set_config(s.name, b.ms::text, true)
    from (values ('lock_timeout', 10000), ('idle_in_transaction_session_timeout', 30000)) b(name, ms)
    join pg_settings s on s.name = b.name
    where s.setting::bigint not between 1 and b.ms
$$;

-- -- what a name may be ----------------------------------------------------

-- No control characters (C0, C1), no line separators, no marks that turn the
-- direction of a text: on a terminal each shows something that is not there.
create function klaviyo.is_printable(p_text text) returns boolean
language sql immutable as $$
    select p_text !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]'
$$;

create function klaviyo.is_name(p_text text) returns boolean
language sql immutable as $$
    select length(p_text) between 1 and 200 and klaviyo.is_printable(p_text)
       and p_text !~ '^ | $'
$$;

create function klaviyo.is_path(p_path text[]) returns boolean
language sql immutable as $$
    select coalesce(array_ndims(p_path), 0) = 1
       and coalesce((select bool_and(part is not null and klaviyo.is_printable(part))
                            and sum(length(part)) <= 1000
                     from unnest(p_path) part), false)
$$;

-- Not valid: what stands there already stays.
alter table klaviyo.connection
    add constraint connection_name_is_name check (klaviyo.is_name(name)) not valid;
alter table klaviyo.export
    add constraint export_name_is_name check (klaviyo.is_name(name)) not valid,
    add constraint export_email_path_is_path check (klaviyo.is_path(email_path)) not valid;
alter table klaviyo.export_segment
    add constraint export_segment_is_printable
    check (klaviyo.is_printable(segment_id)) not valid;
-- The attributes of a profile in an import, but for the address, which has a
-- field of its own, and for consent, which is not ours to send.
alter table klaviyo.export_field
    add constraint export_field_name_is_name check (klaviyo.is_name(name)) not valid,
    add constraint export_field_path_is_path check (klaviyo.is_path(path)) not valid,
    add constraint export_field_is_known check (target = 'property' or name = any (array[
        'first_name', 'last_name', 'organization', 'title', 'image', 'locale', 'external_id',
        'location.address1', 'location.address2', 'location.city', 'location.country',
        'location.region', 'location.zip', 'location.timezone', 'location.ip',
        'location.latitude', 'location.longitude', 'phone_number'])) not valid;

-- -- the audit -------------------------------------------------------------

alter function klaviyo.audit_is_append_only() set search_path = pg_catalog, pg_temp;

-- What differs between two rows, without the members that are named.
create function klaviyo.audit_difference(p_old jsonb, p_new jsonb, p_without text[]) returns jsonb
language sql immutable as $$
    select jsonb_object_agg(n.key, jsonb_build_object('from', o.value, 'to', n.value))
    from jsonb_each(p_new - p_without) n
    join jsonb_each(p_old - p_without) o using (key)
    where n.value <> o.value
$$;

create function klaviyo.audit_change(p_object text, p_name text, p_difference jsonb) returns void
language plpgsql as $$
begin
    if p_difference is not null then
        perform klaviyo.audit_write('change', p_object, p_name, p_difference);
    end if;
end
$$;

create or replace function klaviyo.audit_key_pair() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.audit_write(
        case tg_op when 'INSERT' then 'add' when 'UPDATE' then 'change' else 'remove' end,
        'key pair', coalesce(new.key_pair_id, old.key_pair_id)::text, '{}');
    return null;
end
$$;
create or replace trigger audit after insert or update or delete on klaviyo.key_pair
    for each row execute function klaviyo.audit_key_pair();

create or replace function klaviyo.audit_connection() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        perform klaviyo.audit_write('add', 'connection', new.name, jsonb_build_object(
            'consent_version', new.consent_version, 'account', new.account_id));
        return null;
    elsif tg_op = 'DELETE' then
        perform klaviyo.audit_write('remove', 'connection', old.name,
                                    jsonb_build_object('account', old.account_id));
        return null;
    end if;
    if new.verified_at is distinct from old.verified_at and new.verified_at is not null then
        perform klaviyo.audit_write('verify', 'connection', new.name,
                                    jsonb_build_object('account', new.account_id));
    end if;
    if new.attention_reason is distinct from old.attention_reason then
        perform klaviyo.audit_write(
            case when new.attention_reason is null then 'attention cleared'
                 else 'needs attention' end, 'connection', new.name,
            jsonb_build_object('reason', coalesce(new.attention_reason, old.attention_reason)));
    end if;
    perform klaviyo.audit_change('connection', new.name, klaviyo.audit_difference(
        to_jsonb(old), to_jsonb(new),
        '{account_name,verified_at,attention_reason,attention_at,scopes}'));
    return null;
end
$$;

create or replace function klaviyo.audit_connection_key() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.connection_key := coalesce(new, old);
begin
    perform klaviyo.audit_write(
        case tg_op when 'INSERT' then 'add key' when 'UPDATE' then 'rotate key'
                   else 'remove key' end, 'connection',
        (select c.name from klaviyo.connection c where c.connection_id = v.connection_id),
        jsonb_build_object('key_pair', v.key_pair_id));
    return null;
end
$$;
create or replace trigger audit after insert or update or delete on klaviyo.connection_key
    for each row execute function klaviyo.audit_connection_key();

create or replace function klaviyo.audit_connection_grant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.connection_grant := coalesce(new, old);
begin
    if tg_op = 'UPDATE' then
        perform klaviyo.audit_change(
            'connection',
            (select c.name from klaviyo.connection c where c.connection_id = v.connection_id),
            klaviyo.audit_difference(to_jsonb(old), to_jsonb(new), '{server}'));
        return null;
    end if;
    perform klaviyo.audit_write(
        case tg_op when 'INSERT' then 'grant' else 'revoke' end, 'connection',
        (select c.name from klaviyo.connection c where c.connection_id = v.connection_id),
        jsonb_build_object('role', v.role_name));
    return null;
end
$$;
create or replace trigger audit after insert or update or delete on klaviyo.connection_grant
    for each row execute function klaviyo.audit_connection_grant();

-- What an export says, with the names of things. Columns that come later are in
-- it by themselves.
create or replace function klaviyo.audit_of_export(x klaviyo.export) returns jsonb
language sql stable as $$
    select to_jsonb(x) - '{export_id,name,connection_id,list_id,list_name,list_checked_at,
                           email_path,paused,pause_reason,fingerprint_key,created_at,
                           changed_at}'::text[]
           || jsonb_build_object(
        'connection', (select c.name from klaviyo.connection c
                       where c.connection_id = x.connection_id),
        'list', x.list_id, 'email_field', klaviyo.path_text(x.email_path))
$$;

create or replace function klaviyo.audit_export() returns trigger
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
    perform klaviyo.audit_change('export', new.name, klaviyo.audit_difference(
        klaviyo.audit_of_export(old) || jsonb_build_object('name', old.name),
        klaviyo.audit_of_export(new) || jsonb_build_object('name', new.name), '{}'));
    if new.fingerprint_key <> old.fingerprint_key then
        perform klaviyo.audit_write('change fingerprint key', 'export', new.name, '{}');
    end if;
    return null;
end
$$;

-- A row of a segment or field that was changed in place: only the owner can.
create function klaviyo.audit_part_of_export() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.audit_change(
        'export', (select x.name from klaviyo.export x where x.export_id = new.export_id),
        klaviyo.audit_difference(to_jsonb(old), to_jsonb(new), '{}'));
    return null;
end
$$;
create trigger audit after update on klaviyo.export_segment
    for each row execute function klaviyo.audit_part_of_export();
create trigger audit after update on klaviyo.export_field
    for each row execute function klaviyo.audit_part_of_export();

create function klaviyo.audit_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.audit_write('remove all', tg_argv[0], '*',
                                jsonb_build_object('table', tg_table_name));
    return null;
end
$$;
create trigger audit_truncate after truncate on klaviyo.key_pair
    for each statement execute function klaviyo.audit_truncate('key pair');
create trigger audit_truncate after truncate on klaviyo.connection
    for each statement execute function klaviyo.audit_truncate('connection');
create trigger audit_truncate after truncate on klaviyo.connection_key
    for each statement execute function klaviyo.audit_truncate('connection');
create trigger audit_truncate after truncate on klaviyo.connection_grant
    for each statement execute function klaviyo.audit_truncate('connection');
create trigger audit_truncate after truncate on klaviyo.export
    for each statement execute function klaviyo.audit_truncate('export');
create trigger audit_truncate after truncate on klaviyo.export_segment
    for each statement execute function klaviyo.audit_truncate('export');
create trigger audit_truncate after truncate on klaviyo.export_field
    for each statement execute function klaviyo.audit_truncate('export');

-- -- key pairs and keys ----------------------------------------------------

-- A second pair, only with p_replace. The connections whose keys the new one
-- does not open need attention from now on: their names.
create function klaviyo.add_key_pair(p_public_key bytea, p_replace boolean,
                                     out key_pair_id integer, out marked text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v record;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    lock table klaviyo.key_pair in share row exclusive mode; -- see key_is_changing()
    if exists (select from klaviyo.key_pair) and not p_replace then
        return;
    end if;
    insert into klaviyo.key_pair (public_key) values (p_public_key)
    returning klaviyo.key_pair.key_pair_id into key_pair_id;
    for v in
        select c.connection_id, c.name from klaviyo.connection c
        join klaviyo.connection_key k using (connection_id)
        where k.key_pair_id <> add_key_pair.key_pair_id
        order by c.name
    loop
        perform klaviyo.mark_attention(
            v.connection_id, 'its key was sealed for a key pair that has been replaced');
        marked := concat_ws(', ', marked, v.name);
    end loop;
end
$$;

-- Whatever way a key is stored: it must be sealed for the newest pair, and who
-- stored it and when is not for the one who does it to say. The lock keeps a
-- second pair out until this key is there to be seen, and the other way round.
create or replace function klaviyo.key_is_changing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    lock table klaviyo.key_pair in row exclusive mode;
    if new.key_pair_id <> (select max(p.key_pair_id) from klaviyo.key_pair p) then
        raise object_not_in_prerequisite_state using message =
            'the key pair was replaced meanwhile: give the key again';
    end if;
    new.changed_at := clock_timestamp();
    new.changed_by := session_user;
    return new;
end
$$;
create or replace trigger key_is_changing before insert or update on klaviyo.connection_key
    for each row execute function klaviyo.key_is_changing();

-- -- connections -----------------------------------------------------------

-- null: the name is taken.
create function klaviyo.add_connection(p_name text, p_consent_version integer, p_account_id text,
                                       p_account_name text, p_key_pair integer,
                                       p_sealed_key bytea) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    insert into klaviyo.connection (name, consent_version, account_id, account_name, verified_at)
    values (p_name, p_consent_version, p_account_id, p_account_name,
            case when p_account_id is not null then clock_timestamp() end)
    on conflict (name) do nothing
    returning connection_id into v_id;
    if v_id is not null then
        insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key)
        values (v_id, p_key_pair, p_sealed_key);
    end if;
    return v_id;
end
$$;

-- False: there is no such connection. Another account's key is refused.
create function klaviyo.replace_key(p_name text, p_account_id text, p_account_name text,
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
    set attention_reason = null, attention_at = null,
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

-- null: there is none; '': it is removed; otherwise the exports that use it.
create function klaviyo.remove_connection(p_name text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint;
    v_exports text;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    select connection_id into v_id from klaviyo.connection where name = p_name for update;
    if not found then
        return null;
    end if;
    select string_agg(x.name, ', ' order by x.name) into v_exports
    from klaviyo.export x where x.connection_id = v_id;
    if v_exports is null then
        delete from klaviyo.connection where connection_id = v_id;
    end if;
    return coalesce(v_exports, '');
end
$$;

-- null: there is no such connection; false: no such role.
create function klaviyo.grant_connection(p_name text, p_role text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := (select connection_id from klaviyo.connection where name = p_name);
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    perform klaviyo.tidy_grants();
    if v_id is null then
        return null;
    elsif not exists (select from pg_roles where rolname = p_role) then
        return false;
    end if;
    insert into klaviyo.connection_grant (connection_id, role_name) values (v_id, p_role)
    on conflict do nothing;
    return true;
end
$$;

-- was_granted: there was something to revoke. paused: names of the exports
-- that pause because of it.
create function klaviyo.revoke_connection(p_name text, p_role text, out was_granted boolean,
                                          out paused text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    perform klaviyo.tidy_grants();
    delete from klaviyo.connection_grant g using klaviyo.connection c
    where g.connection_id = c.connection_id and c.name = p_name and g.role_name = p_role;
    was_granted := found;
    paused := klaviyo.pause_unusable(p_name, p_role);
end
$$;

-- After a revoke: exports pause whose maker may not use the connection any
-- more. Their names.
create or replace function klaviyo.pause_unusable(p_connection text, p_role text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.export;
    v_names text;
begin
    perform klaviyo.must_be_admin();
    for v in
        select x.* from klaviyo.export x
        join klaviyo.connection c using (connection_id)
        left join pg_roles r on r.rolname = x.created_by
        where c.name = p_connection and not x.paused
          and not coalesce(klaviyo.may_use(x.connection_id, r.rolname), false)
        order by x.export_id -- as events are taken in: nobody waits in a circle
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

-- ready, not verified or needs attention; for whoever may use it.
create function klaviyo.connection_state(p_connection_id bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when c.attention_reason is not null then 'needs attention'
                when c.verified_at is null then 'not verified' else 'ready' end
    from klaviyo.connection c
    where c.connection_id = p_connection_id and klaviyo.may_use(c.connection_id)
$$;

-- A key of the connection was refused: its queued runs end now, later events at
-- once, until verify or rotate-key succeeds. p_sealed_key: the key that was
-- tried; where the connection has got another since, nothing is done. Null: the
-- one that it has. True: marked. Locked first, then compared: who waited here
-- for a new key to be stored must see it.
create or replace function klaviyo.mark_attention(p_connection_id bigint, p_reason text,
                                                  p_sealed_key bytea default null) returns boolean
language plpgsql as $$
declare
    v_run_id bigint;
begin
    perform from klaviyo.connection where connection_id = p_connection_id for no key update;
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
                                  'the connection''s key was refused: run connection verify or rotate-key');
    end loop;
    return true;
end
$$;

-- What `connection verify` found out about this key. null: there is no such
-- connection; false: it has got another key meanwhile, nothing was stored.
create function klaviyo.note_verified(p_name text, p_sealed_key bytea, p_account_id text,
                                      p_account_name text, p_scopes text[]) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint;
begin
    select connection_id into v_id from klaviyo.connection where name = p_name for no key update;
    if not found then
        return null;
    end if;
    if not exists (select from klaviyo.connection_key k
                   where k.connection_id = v_id and k.sealed_key = p_sealed_key) then
        return false;
    end if;
    update klaviyo.connection
    set account_id = coalesce(p_account_id, account_id),
        account_name = coalesce(p_account_name, account_name), scopes = p_scopes,
        verified_at = clock_timestamp(), attention_reason = null, attention_at = null
    where connection_id = v_id;
    return true;
end
$$;

-- -- exports ---------------------------------------------------------------

drop function klaviyo.begin_change(bigint, text);

-- The connection of that name, where the caller may use it.
create function klaviyo.usable_connection(p_name text) returns bigint
language plpgsql stable as $$
declare
    v_id bigint := (select connection_id from klaviyo.connection where name = p_name);
begin
    if v_id is null or not klaviyo.may_use(v_id) then
        raise insufficient_privilege using message =
            format('there is no connection %s that you may use', p_name);
    end if;
    return v_id;
end
$$;

-- Locks an export that the caller may change, against new events and against
-- other changes; null: there is none. Asked once more under the lock.
create function klaviyo.lock_usable_export(p_name text) returns bigint
language plpgsql as $$
declare
    v klaviyo.export;
begin
    perform klaviyo.bound_transaction();
    select * into v from klaviyo.export where name = p_name;
    if not found or not klaviyo.may_use(v.connection_id) then
        return null;
    end if;
    select * into v from klaviyo.export where export_id = v.export_id for no key update;
    if not found or not klaviyo.may_use(v.connection_id) then
        return null;
    end if;
    return v.export_id;
end
$$;

create function klaviyo.check_phone_number(p_draft jsonb) returns void
language plpgsql as $$
begin
    if (p_draft -> 'allow_phone_number') is distinct from 'true'::jsonb
       and p_draft @? '$.fields[*] ? (@.target == "attribute" && @.name == "phone_number")' then
        raise invalid_parameter_value using message = 'phone_number must be allowed by its own word';
    end if;
end
$$;

create function klaviyo.texts(p_array jsonb) returns text[]
language sql immutable strict as $$
    select coalesce(array_agg(value order by n), '{}')
    from jsonb_array_elements_text(p_array) with ordinality as t(value, n)
$$;

-- Replaces the segments, or the fields; null: they stay.
create function klaviyo.replace_segments(p_export_id bigint, p_segments jsonb) returns void
language plpgsql as $$
begin
    if p_segments is null then
        return;
    end if;
    delete from klaviyo.export_segment s
    where s.export_id = p_export_id and not p_segments ? s.segment_id;
    insert into klaviyo.export_segment (export_id, segment_id)
    select distinct p_export_id, s.segment_id from jsonb_array_elements_text(p_segments) s(segment_id)
    on conflict do nothing;
end
$$;

create function klaviyo.fields_of_export(p_export_id bigint) returns jsonb
language sql stable as $$
    select coalesce(jsonb_agg(jsonb_build_object('target', f.target, 'name', f.name,
                                                 'path', to_jsonb(f.path)) order by f.position), '[]')
    from klaviyo.export_field f where f.export_id = p_export_id
$$;

create function klaviyo.replace_fields(p_export_id bigint, p_fields jsonb) returns void
language plpgsql as $$
begin
    if p_fields is null or p_fields = klaviyo.fields_of_export(p_export_id) then
        return;
    end if;
    delete from klaviyo.export_field f where f.export_id = p_export_id;
    insert into klaviyo.export_field (export_id, position, target, name, path)
    select p_export_id, f.n, f.field ->> 'target', f.field ->> 'name',
           klaviyo.texts(f.field -> 'path')
    from jsonb_array_elements(p_fields) with ordinality as f(field, n);
end
$$;

-- An export's row as a draft changes it; members that are absent stay.
create function klaviyo.drafted_export(x klaviyo.export, p_draft jsonb) returns klaviyo.export
language plpgsql stable as $$
begin
    if p_draft ? 'connection' then
        x.connection_id := klaviyo.usable_connection(p_draft ->> 'connection');
    end if;
    x.list_id := coalesce(p_draft ->> 'list', x.list_id);
    x.email_path := coalesce(klaviyo.texts(p_draft -> 'email_path'), x.email_path);
    x.max_profiles := coalesce((p_draft ->> 'max_profiles')::bigint, x.max_profiles);
    return x;
end
$$;

-- A draft is an object of connection (a name), list, email_path (an array of
-- strings), max_profiles, segments (an array), fields (an array of objects with
-- target, name, path), allow_phone_number.
-- null: the name is taken.
create function klaviyo.add_export(p_name text, p_draft jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    x klaviyo.export;
begin
    perform klaviyo.bound_transaction();
    perform klaviyo.check_phone_number(p_draft);
    x := klaviyo.drafted_export(null::klaviyo.export, p_draft);
    insert into klaviyo.export (name, connection_id, list_id, email_path)
    values (p_name, klaviyo.usable_connection(p_draft ->> 'connection'), x.list_id, x.email_path)
    on conflict (name) do nothing
    returning * into x;
    if not found then
        return null;
    end if;
    x := klaviyo.drafted_export(x, p_draft);
    perform klaviyo.store_export(x);
    perform klaviyo.replace_segments(x.export_id, p_draft -> 'segments');
    perform klaviyo.replace_fields(x.export_id, p_draft -> 'fields');
    return x.export_id;
end
$$;

-- Writes the columns that a draft can change.
create function klaviyo.store_export(x klaviyo.export) returns void
language sql as $$
    update klaviyo.export
    set connection_id = x.connection_id, list_id = x.list_id, email_path = x.email_path,
        max_profiles = x.max_profiles
    where export_id = x.export_id
$$;

-- How many runs of an export the caller's statement has ended.
create function klaviyo.runs_ended_now(p_export_id bigint) returns integer
language sql stable as $$
    select count(*)::integer from klaviyo.run r
    where r.export_id = p_export_id and r.state = 'cancelled'
      and r.finished_at >= statement_timestamp()
$$;

-- Ends the runs that are going, if anything changes. null: there is no such
-- export; -1: nothing differs; otherwise how many runs were ended.
create function klaviyo.change_export(p_name text, p_draft jsonb) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := klaviyo.lock_usable_export(p_name);
    v_old klaviyo.export;
    v_new klaviyo.export;
    v_segments text[];
begin
    if v_id is null then
        return null;
    end if;
    perform klaviyo.check_phone_number(p_draft);
    select * into v_old from klaviyo.export where export_id = v_id;
    v_new := klaviyo.drafted_export(v_old, p_draft);
    select array_agg(s.segment_id) into v_segments
    from klaviyo.export_segment s where s.export_id = v_id;
    if v_new is not distinct from v_old
       and coalesce(p_draft -> 'segments' <@ to_jsonb(v_segments)
                    and p_draft -> 'segments' @> to_jsonb(v_segments), true)
       and coalesce(p_draft -> 'fields' = klaviyo.fields_of_export(v_id), true) then
        return -1;
    end if;
    perform klaviyo.lock_export(v_id, 'export_changed');
    perform klaviyo.store_export(v_new);
    perform klaviyo.replace_segments(v_id, p_draft -> 'segments');
    perform klaviyo.replace_fields(v_id, p_draft -> 'fields');
    return klaviyo.runs_ended_now(v_id);
end
$$;

create function klaviyo.pause_export(p_name text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := klaviyo.lock_usable_export(p_name);
begin
    if v_id is null then
        return null;
    end if;
    perform klaviyo.lock_export(v_id, 'export_paused');
    update klaviyo.export set paused = true, pause_reason = null where export_id = v_id;
    return klaviyo.runs_ended_now(v_id);
end
$$;

create function klaviyo.resume_export(p_name text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := klaviyo.lock_usable_export(p_name);
begin
    if v_id is not null then
        update klaviyo.export set paused = false, pause_reason = null where export_id = v_id;
        return 0;
    end if;
    return null;
end
$$;

create function klaviyo.remove_export(p_name text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint := klaviyo.lock_usable_export(p_name);
    v_ended integer;
begin
    if v_id is null then
        return null;
    end if;
    perform klaviyo.lock_export(v_id, 'export_removed');
    v_ended := klaviyo.runs_ended_now(v_id);
    delete from klaviyo.export where export_id = v_id;
    return v_ended;
end
$$;

-- -- what upstream's data say ------------------------------------------------

drop function klaviyo.look_at_source(text[], text[]);

-- Counts only, for those who may not read the data themselves. It belongs to
-- klaviyo_source: code in the site's view runs with that role's rights.
-- p_fields: an array of objects with path, answered in its order.
create function klaviyo.look_at_source(p_segments text[], p_email_path text[], p_fields jsonb)
returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_unknown text;
    v_counts jsonb;
    v_columns text;
begin
    select string_agg(given.segment_id, ', ' order by given.segment_id) into v_unknown
    from unnest(p_segments) as given(segment_id)
    where not exists (select from insights.segment s
                      where s.segment_id::text = given.segment_id);
    select coalesce(string_agg(format(
               'jsonb_build_object(''present'', count(*) filter (where jsonb_typeof('
               'm.attributes #> %1$L::text[]) <> ''null''), ''nested'', count(*) filter (where '
               'jsonb_typeof(m.attributes #> %1$L::text[]) in (''object'', ''array'')))',
               array(select jsonb_array_elements_text(f.field -> 'path'))), ', ' order by f.n), '')
    into v_columns
    from jsonb_array_elements(p_fields) with ordinality as f(field, n);
    execute format(
        'select jsonb_build_object(''members'', count(*), ''with_email'', count(*) filter (where '
        'jsonb_typeof(m.attributes #> $1) = ''string''), ''fields'', jsonb_build_array(%s)) '
        'from (select attributes::jsonb as attributes from %s) m',
        v_columns, klaviyo.members_of(p_segments))
    into v_counts using p_email_path;
    return v_counts || jsonb_build_object('unknown_segments', v_unknown);
end
$$;

-- The same of an export that the caller may use; null: there is none. What the
-- site's code does to the session is undone, and it can write nothing: it runs
-- in a read-only subtransaction that is rolled back.
create function klaviyo.look_at_export(p_name text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.export;
    v_fields jsonb;
    v_seen jsonb;
begin
    select * into v from klaviyo.export where name = p_name;
    if not found or not klaviyo.may_use(v.connection_id) then
        return null;
    end if;
    v_fields := klaviyo.fields_of_export(v.export_id);
    begin
        perform set_config('transaction_read_only', 'on', true);
        v_seen := klaviyo.look_at_source(
            array(select s.segment_id from klaviyo.export_segment s
                  where s.export_id = v.export_id), v.email_path, v_fields);
        raise sqlstate 'KW001'; -- rolls back; what was seen stays in the variable
    exception when sqlstate 'KW001' then
        null;
    end;
    return v_seen || jsonb_build_object('fields', (
        select coalesce(jsonb_agg(a.field || b.field order by a.n), '[]')
        from jsonb_array_elements(v_fields) with ordinality as a(field, n)
        join jsonb_array_elements(v_seen -> 'fields') with ordinality as b(field, n) using (n)));
end
$$;

-- -- runs --------------------------------------------------------------------

-- Stops a run: at once where nobody works for it, else its owner learns of it
-- with its next heartbeat. ended, asked, or the state in which it had ended
-- before. A run that is not the caller's is not even locked.
create function klaviyo.may_cancel(r klaviyo.run) returns boolean
language sql stable as $$
    select klaviyo.is_admin(klaviyo.caller()) or exists (
        select from klaviyo.export x
        where x.export_id = r.export_id and x.created_by = session_user
          and klaviyo.may_use(x.connection_id))
$$;

create or replace function klaviyo.cancel_run(p_run_id bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.run;
begin
    perform klaviyo.bound_transaction();
    select * into v from klaviyo.run r where r.run_id = p_run_id;
    if not found or not klaviyo.may_cancel(v) then
        raise insufficient_privilege using message = 'this run is not one that you may cancel';
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

-- A run of an export that is gone is of the connection whose name it has kept.
create function klaviyo.may_see(r klaviyo.run) returns boolean
language sql stable as $$
    select klaviyo.is_admin(klaviyo.caller()) or coalesce(
        (select klaviyo.may_use(x.connection_id) from klaviyo.export x
         where x.export_id = r.export_id),
        (select klaviyo.may_use(c.connection_id) from klaviyo.connection c
         where c.name = r.connection_name), false)
$$;

-- The runs that answer an event, as far as the caller may see them. null: no
-- worker has taken the event in yet, or none of its runs is the caller's.
create or replace function klaviyo.follow_event(p_source text, p_event_id text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select json_build_object('state', q.state, 'reason', q.reason, 'runs', coalesce(s.runs, '[]'))
    from klaviyo.request q
    left join lateral (
        select json_agg(klaviyo.run_json(r) order by r.export_name) as runs
        from klaviyo.request_run a join klaviyo.run r using (run_id)
        where a.request_id = q.request_id and klaviyo.may_see(r)
    ) s on true
    where q.source = p_source and q.event_id = p_event_id
      and (s.runs is not null or q.reason = 'event_invalid'
           or klaviyo.is_admin(klaviyo.caller()))
    order by q.request_id desc limit 1
$$;
