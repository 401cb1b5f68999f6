-- Who names a field that nobody has is told which one may have been meant.

-- The names of attributes, as paths of three names at most, that at least one in
-- twenty of some members has: no value, no element of an array. 500 at most. It
-- belongs to klaviyo_source, as the site's view runs with that role's rights.
create function klaviyo.look_at_names(p_segments text[]) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_names jsonb;
begin
    execute format(
        'with recursive members as materialized (select attributes::jsonb as a from %s limit 200), '
        'field(path, value) as ('
        'select array[e.key], e.value from members, jsonb_each(case when jsonb_typeof(a) = ''object'' '
        'then a else ''{}'' end) e '
        'union all select f.path || e.key, e.value from field f, jsonb_each(case when '
        'jsonb_typeof(f.value) = ''object'' then f.value else ''{}'' end) e '
        'where cardinality(f.path) < 3) '
        'select coalesce(jsonb_agg(n.name order by n.name), ''[]'') from ('
        'select klaviyo.path_text(f.path) as name from field f '
        'where jsonb_typeof(f.value) not in (''object'', ''null'') group by f.path '
        'having count(*) * 20 >= (select count(*) from members) order by count(*) desc limit 500) n',
        klaviyo.members_of(p_segments))
    into v_names;
    return v_names;
end
$$;

-- Whether under 1 % of the members have something that a draft names.
create function klaviyo.is_hopeless(p_seen jsonb) returns boolean
language sql immutable as $$
    select (p_seen ->> 'looked_at')::bigint > 0 and exists (
        select from (select p_seen -> 'addresses' as present
                     union all
                     select f -> 'present' from jsonb_array_elements(p_seen -> 'fields') f) s
        where s.present::bigint * 100 < (p_seen ->> 'looked_at')::bigint)
$$;

-- As before, with the names that there are where one may be wrong.
create or replace function klaviyo.look_at_draft(p_name text, p_draft jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.export;
    v_fields jsonb;
    v_segments text[];
    v_seen jsonb;
    v_names jsonb := '[]';
begin
    select * into v from klaviyo.export where name = p_name;
    if (found and not klaviyo.may_use(v.connection_id)) or (p_draft ? 'connection' and not exists (
            select from klaviyo.connection c where c.name = p_draft ->> 'connection'
            and klaviyo.may_use(c.connection_id))) or not (found or p_draft ? 'connection') then
        return null;
    end if;
    v := klaviyo.drafted_export(v, p_draft);
    v_fields := coalesce(p_draft -> 'fields', klaviyo.fields_of_export(v.export_id));
    v_segments := coalesce(klaviyo.texts(p_draft -> 'segments'),
                           array(select s.segment_id from klaviyo.export_segment s
                                 where s.export_id = v.export_id));
    begin
        perform set_config('transaction_read_only', 'on', true);
        v_seen := klaviyo.look_at_source(v_segments, v.email_path, v_fields);
        if klaviyo.is_hopeless(v_seen) then
            v_names := klaviyo.look_at_names(v_segments);
        end if;
        raise sqlstate 'KW001'; -- rolls back; what was seen stays in the variable
    exception
        when sqlstate 'KW001' then
            null;
        when others then
            return jsonb_build_object('error', case when sqlstate like '42%' then sqlerrm || ' ' else '' end
                                               || '(SQLSTATE ' || sqlstate || ')');
    end;
    return v_seen || jsonb_build_object(
        'max_profiles', v.max_profiles, 'email_field', klaviyo.path_text(v.email_path),
        'names', v_names, 'fields', (
            select coalesce(jsonb_agg(
                a.field || b.field || jsonb_build_object('path', klaviyo.path_text(
                    klaviyo.texts(a.field -> 'path'))) order by a.n), '[]')
            from jsonb_array_elements(v_fields) with ordinality as a(field, n)
            join jsonb_array_elements(v_seen -> 'fields') with ordinality as b(field, n) using (n)));
end
$$;

revoke execute on function klaviyo.look_at_names(text[]), klaviyo.is_hopeless(jsonb) from public;
