-- A grant that somebody is using is not revoked before that is there to be seen: the export that
-- is made, changed or resumed with it is then one of those that the revoke pauses.

-- May the caller use the connection until the end of this transaction? The grants that say so are
-- locked, and the connection before them, as removing it does: nobody waits in a circle. Deleting
-- a grant waits; who waited here for that is not among those that may. Of a transaction that began
-- before the revoke and sees the database of then, PostgreSQL says so itself (40001).
create function klaviyo.hold_connection(p_connection_id bigint) returns boolean
language plpgsql as $$
begin
    if not coalesce(klaviyo.may_use(p_connection_id), false) then
        return false;
    end if;
    perform klaviyo.bound_transaction();
    perform from klaviyo.connection c where c.connection_id = p_connection_id for key share;
    if klaviyo.is_admin(klaviyo.caller()) then
        return found;
    end if;
    perform from klaviyo.connection_grant g
    where g.connection_id = p_connection_id
      and pg_has_role(klaviyo.caller(), klaviyo.granted_role(g), 'member')
    for key share;
    return found;
end
$$;

-- As before, and it stays usable until the transaction ends.
create or replace function klaviyo.usable_connection(p_name text) returns bigint
language plpgsql volatile as $$
declare
    v_id bigint := (select connection_id from klaviyo.connection where name = p_name);
begin
    if v_id is null or not klaviyo.hold_connection(v_id) then
        raise insufficient_privilege using message =
            format('there is no connection %s that you may use', p_name);
    end if;
    return v_id;
end
$$;

-- As before, and its connection stays usable.
create or replace function klaviyo.lock_usable_export(p_name text) returns bigint
language plpgsql as $$
declare
    v klaviyo.export;
begin
    perform klaviyo.bound_transaction();
    select * into v from klaviyo.export where name = p_name;
    if not found or not klaviyo.hold_connection(v.connection_id) then
        return null;
    end if;
    select * into v from klaviyo.export where export_id = v.export_id for no key update;
    if not found or not klaviyo.hold_connection(v.connection_id) then
        return null;
    end if;
    return v.export_id;
end
$$;

-- As before; a connection that is being removed is waited for.
create or replace function klaviyo.grant_connection(p_name text, p_role text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_id bigint;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    select connection_id into v_id from klaviyo.connection where name = p_name for key share;
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

revoke execute on function klaviyo.hold_connection(bigint) from public;
