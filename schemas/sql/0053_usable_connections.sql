-- Who may use what is worked out once for a statement, and not for each row that it looks at: with
-- hundreds of exports and some grants on their connections that took seconds.

-- The number of the server is asked for once for a grant, not for each role that there is.
create or replace function klaviyo.granted_role(g klaviyo.connection_grant) returns oid
language sql stable as $$
    select case when g.server = klaviyo.this_server()
                then (select r.oid from pg_roles r where r.oid = g.role_id)
                else (select r.oid from pg_roles r where r.rolname = g.role_name) end
$$;

-- All that whoever asks may use, as may_use() says of one.
create function klaviyo.usable_connections() returns setof bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.connection_id from klaviyo.connection c where klaviyo.is_admin(klaviyo.caller())
    union
    select g.connection_id from klaviyo.connection_grant g
    where pg_has_role(klaviyo.caller(), klaviyo.granted_role(g), 'member')
$$;
revoke execute on function klaviyo.usable_connections() from public;

alter policy granted on klaviyo.connection
    using (connection_id in (select klaviyo.usable_connections()));
alter policy granted on klaviyo.export
    using (connection_id in (select klaviyo.usable_connections()));

-- As before; a worker's grants are not looked at first.
create or replace function klaviyo.connection_state(p_connection_id bigint) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when c.attention_reason is not null then 'needs attention'
                when c.verified_at is null then 'not verified' else 'ready' end
    from klaviyo.connection c
    where c.connection_id = p_connection_id
      and (pg_has_role(klaviyo.caller(), 'klaviyo_worker', 'member')
           or klaviyo.may_use(c.connection_id))
$$;

-- As before, with its rows.
create or replace view klaviyo.delivered with (security_barrier) as
with usable as materialized (select klaviyo.usable_connections() as connection_id),
visible as materialized (
    select x.export_id, x.name, x.connection_id in (select connection_id from usable) as whole
    from klaviyo.export x
    where x.connection_id in (select connection_id from usable)
       or pg_has_role(klaviyo.caller(), 'klaviyo_viewer', 'member'))
select v.name as export, d.profile_id, case when v.whole then d.address end as address, d.state,
       d.since, d.run_id as run
from visible v join klaviyo.delivery d using (export_id);
