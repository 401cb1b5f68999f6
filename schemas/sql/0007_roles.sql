-- Who may do what. People and workers connect with roles of their own that are
-- members of one of four:
--   klaviyo_admin        sees and changes everything but no stored key
--   klaviyo_contributor  makes, changes and removes exports on the connections
--                        granted to it, of which it sees name and kind
--   klaviyo_viewer       reads runs
--   klaviyo_worker       reads what is set up, writes runs
-- The roles belong to the server; klaviyo-worker migrate has made them before.

-- RFC 3339, as listings show times.
create function klaviyo.utc(p_time timestamptz) returns text
language sql stable as $$
    select to_char(p_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Members of klaviyo_admin, and whoever the schema belongs to.
create function klaviyo.is_admin(p_user name) returns boolean
language sql stable as $$
    select pg_has_role(p_user, 'klaviyo_admin', 'member')
        or pg_has_role(p_user, (select nspowner from pg_namespace where nspname = 'klaviyo'),
                       'member')
$$;

-- May this user make exports on the connection? Looks at grants, which the
-- user may not.
create function klaviyo.may_use(p_connection_id bigint, p_user name) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.is_admin(p_user) or exists (
        select from klaviyo.connection_grant g
        join pg_roles r on r.rolname = g.role_name
        where g.connection_id = p_connection_id and pg_has_role(p_user, r.oid, 'member'))
$$;

-- Nobody can say in somebody else's name who agreed.
alter table klaviyo.connection alter column consent_by set default session_user;

-- What nobody was given, nobody has.
revoke all on all tables in schema klaviyo from public;
revoke execute on all functions in schema klaviyo from public;
grant usage on schema klaviyo
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;
grant select on klaviyo.migration
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;
grant execute on function klaviyo.utc(timestamptz), klaviyo.is_admin(name),
                          klaviyo.may_use(bigint, name)
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;

-- The worker: everything of runs, what is set up to read, and of that only what
-- Klaviyo's answers change.
grant execute on all functions in schema klaviyo to klaviyo_worker;
grant usage on sequence klaviyo.batch_id to klaviyo_worker;
grant select, insert, update, delete
    on klaviyo.request, klaviyo.run, klaviyo.request_run, klaviyo.batch, klaviyo.ledger,
       klaviyo.rejection, klaviyo.rate_budget, klaviyo.rate_place
    to klaviyo_worker;
grant select on klaviyo.key_pair, klaviyo.connection, klaviyo.connection_key,
                klaviyo.connection_grant, klaviyo.export, klaviyo.export_segment,
                klaviyo.export_field
    to klaviyo_worker;
grant update (account_id, account_name, verified_at, attention_reason, attention_at)
    on klaviyo.connection to klaviyo_worker;
grant update (list_name, list_checked_at) on klaviyo.export to klaviyo_worker;
-- What the site has: rights.sql, as it may be somebody else's.

-- The administrator. A sealed key can be put in and replaced, not read.
grant select on klaviyo.connection, klaviyo.connection_grant, klaviyo.export_segment,
                klaviyo.export_field, klaviyo.key_pair, klaviyo.run, klaviyo.request,
                klaviyo.request_run, klaviyo.batch, klaviyo.ledger, klaviyo.rejection,
                klaviyo.rate_budget, klaviyo.rate_place
    to klaviyo_admin;
grant insert (public_key) on klaviyo.key_pair to klaviyo_admin;
grant insert (name, consent_version, account_id, account_name, verified_at),
      update (name, account_id, account_name, verified_at, attention_reason, attention_at), delete
    on klaviyo.connection to klaviyo_admin;
grant select (connection_id, key_pair_id, changed_at, changed_by),
      insert (connection_id, key_pair_id, sealed_key), update (key_pair_id, sealed_key), delete
    on klaviyo.connection_key to klaviyo_admin;
grant insert (connection_id, role_name), delete on klaviyo.connection_grant to klaviyo_admin;

-- The contributor.
grant select (connection_id, name, kind) on klaviyo.connection to klaviyo_contributor;
grant select on klaviyo.export_segment, klaviyo.export_field, klaviyo.run, klaviyo.request_run,
                klaviyo.rejection
    to klaviyo_contributor;

-- Both make and change exports; the key of the fingerprints is the workers'.
grant select (export_id, name, connection_id, list_id, list_name, list_checked_at, email_path,
              max_profiles, on_leave, paused, pause_reason, created_by, created_at, changed_at),
      insert (name, connection_id, list_id, email_path, max_profiles),
      update (connection_id, list_id, email_path, max_profiles, paused, pause_reason), delete
    on klaviyo.export to klaviyo_admin, klaviyo_contributor;
grant insert, delete on klaviyo.export_segment, klaviyo.export_field
    to klaviyo_admin, klaviyo_contributor;

-- The viewer: runs, and how many events each answers; no rejections, which
-- hold addresses.
grant select on klaviyo.run, klaviyo.request_run to klaviyo_viewer;

-- Rows. Administrators and workers have all of those that the grants above let
-- them touch; contributors those that hang on connections they may use.
do $$
declare
    v_table regclass;
begin
    foreach v_table in array array[
        'klaviyo.key_pair', 'klaviyo.connection', 'klaviyo.connection_key',
        'klaviyo.connection_grant', 'klaviyo.export', 'klaviyo.export_segment',
        'klaviyo.export_field', 'klaviyo.request', 'klaviyo.run', 'klaviyo.request_run',
        'klaviyo.batch', 'klaviyo.ledger', 'klaviyo.rejection', 'klaviyo.rate_budget',
        'klaviyo.rate_place']::regclass[]
    loop
        execute format('alter table %s enable row level security', v_table);
        execute format('create policy everything on %s to klaviyo_admin, klaviyo_worker using (true)',
                       v_table);
    end loop;
end
$$;

create policy granted on klaviyo.connection for select to klaviyo_contributor
    using (klaviyo.may_use(connection_id, current_user));
create policy granted on klaviyo.export to klaviyo_contributor
    using (klaviyo.may_use(connection_id, current_user));
create policy granted on klaviyo.export_segment to klaviyo_contributor
    using (exists (select from klaviyo.export x where x.export_id = export_segment.export_id));
create policy granted on klaviyo.export_field to klaviyo_contributor
    using (exists (select from klaviyo.export x where x.export_id = export_field.export_id));
create policy granted on klaviyo.run for select to klaviyo_contributor
    using (exists (select from klaviyo.export x where x.export_id = run.export_id));
create policy granted on klaviyo.request_run for select to klaviyo_contributor
    using (exists (select from klaviyo.run r where r.run_id = request_run.run_id));
create policy granted on klaviyo.rejection for select to klaviyo_contributor
    using (exists (select from klaviyo.run r where r.run_id = rejection.run_id));

create policy shown on klaviyo.run for select to klaviyo_viewer using (true);
create policy shown on klaviyo.request_run for select to klaviyo_viewer using (true);
