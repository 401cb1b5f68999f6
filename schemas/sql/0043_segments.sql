-- What upstream has, for people who make exports: segments, their sizes, and what
-- the fields of their members are called. Counts and names only, no value.

-- These belong to klaviyo_source: code in the site's relations runs with that
-- role's rights.
create function klaviyo.look_at_segments() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object(
               'segment', coalesce(s.segment_id::text, m.segment_id), 'name', s.name,
               'members', coalesce(m.members, 0))
               order by coalesce(s.segment_id::text, m.segment_id) collate "C"), '[]')
    from insights.segment s
    full join (select p.segment_id::text as segment_id, count(*) as members
               from insights.segment_profile p group by 1) m
           on m.segment_id = s.segment_id::text
$$;

create function klaviyo.look_at_segment_names() returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(n.name), '[]')
    from (select s.segment_id::text as name from insights.segment s limit 10000) n
$$;

-- Null: there is no such segment. Nested objects down to five levels, 500 paths at
-- most. A name that holds an address is a value, and so are the names in an object
-- that has more than 100 of them: they are left out.
create function klaviyo.look_at_fields(p_segment text) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_source text := klaviyo.members_of(array[p_segment]);
    v_members bigint;
    v_looked_at bigint;
    v_fields jsonb;
begin
    execute format('select count(*) from %s', v_source) into v_members;
    if v_members = 0 and not exists (select from insights.segment s
                                     where s.segment_id::text = p_segment) then
        return null;
    end if;
    execute format($q$
        with recursive sample as materialized (
            select attributes::jsonb as attributes from %s%s offset 0),
        walk (path, value) as (
            select array[e.key], e.value
            from sample s, jsonb_each(case when jsonb_typeof(s.attributes) = 'object'
                                           then s.attributes else '{}' end) e
            where klaviyo.is_field_name(e.key)
            union all
            select w.path || e.key, e.value
            from walk w, jsonb_each(case when jsonb_typeof(w.value) = 'object'
                                         then w.value else '{}' end) e
            where cardinality(w.path) < 5 and klaviyo.is_field_name(e.key)),
        typed as (
            select w.path, jsonb_typeof(w.value) as type, count(*) as n,
                   count(*) filter (where jsonb_typeof(w.value) = 'string'
                                    and position('@' in w.value #>> '{}') > 0
                                    and klaviyo.is_address(klaviyo.address_of(w.value #>> '{}')))
                       as addresses
            from walk w group by 1, 2),
        named as (
            select t.path, sum(t.n) filter (where t.type <> 'null') as present,
                   sum(t.addresses) as addresses,
                   jsonb_agg(jsonb_build_object('type', t.type, 'count', t.n)
                             order by t.n desc, t.type) as types
            from typed t group by 1),
        crowded as (
            select n.path[:cardinality(n.path) - 1] as path from named n
            where cardinality(n.path) > 1 group by 1 having count(*) > 100),
        shown as (
            select n.* from named n
            where not exists (select from crowded c
                              where n.path[:cardinality(c.path)] = c.path
                                and cardinality(n.path) > cardinality(c.path))
            order by coalesce(n.present, 0) desc, n.path limit 500)
        select (select count(*) from sample), coalesce(jsonb_agg(jsonb_build_object(
                   'field', klaviyo.path_text(s.path), 'types', s.types,
                   'present', coalesce(s.present, 0), 'addresses', s.addresses)
                   order by s.path), '[]')
        from shown s $q$,
        v_source,
        case when v_members > 10000
             then format(' and hashtextextended(profile_id::text, 0) %% %s = 0',
                         (v_members + 9999) / 10000) else '' end)
    into v_looked_at, v_fields;
    return jsonb_build_object('segment', p_segment, 'members', v_members, 'looked_at', v_looked_at,
                              'fields', v_fields);
end
$$;

create function klaviyo.is_field_name(p_key text) returns boolean
language sql immutable parallel safe as $$
    select length(p_key) between 1 and 200 and position('@' in p_key) = 0
       and klaviyo.is_printable(p_key)
$$;

-- What the site's code does to the session is undone, and it can write nothing: it
-- runs in a read-only subtransaction that is rolled back. error: the relations
-- cannot be read; in PostgreSQL's words where those are about names alone.
create function klaviyo.looked_at_source(p_what text, p_segment text) returns jsonb
language plpgsql as $$
declare
    v_seen jsonb;
begin
    begin
        perform set_config('transaction_read_only', 'on', true);
        v_seen := case p_what when 'segments' then klaviyo.look_at_segments()
                              when 'names' then klaviyo.look_at_segment_names()
                              else klaviyo.look_at_fields(p_segment) end;
        raise sqlstate 'KW001'; -- rolls back; what was seen stays in the variable
    exception
        when sqlstate 'KW001' then
            null;
        when others then
            return jsonb_build_object('error', case when sqlstate like '42%' then sqlerrm || ' ' else '' end
                                               || '(SQLSTATE ' || sqlstate || ')');
    end;
    return case p_what when 'fields' then v_seen else jsonb_build_object(p_what, v_seen) end;
end
$$;

create function klaviyo.list_segments() returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.looked_at_source('segments', null)
$$;

create function klaviyo.segment_names() returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.looked_at_source('names', null)
$$;

-- share: percent of those looked at, with one decimal. The first field is the id.
create function klaviyo.segment_fields(p_segment text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_seen jsonb := klaviyo.looked_at_source('fields', p_segment);
    v_looked_at numeric := (v_seen ->> 'looked_at')::numeric;
begin
    if v_seen is null or v_seen ? 'error' then
        return v_seen;
    end if;
    return v_seen || jsonb_build_object('fields', (
        select jsonb_build_array(jsonb_build_object(
                   'field', '@profile_id', 'types', jsonb_build_array(jsonb_build_object(
                       'type', 'string', 'count', v_looked_at)),
                   'present', v_looked_at, 'addresses', 0, 'share', case when v_looked_at > 0
                                                                     then 100 else 0 end))
               || coalesce(jsonb_agg(f.field || jsonb_build_object(
                      'share', round(100 * (f.field ->> 'present')::numeric / v_looked_at, 1))
                      order by f.n), '[]')
        from jsonb_array_elements(v_seen -> 'fields') with ordinality as f(field, n)));
end
$$;

revoke execute on function
    klaviyo.look_at_segments(), klaviyo.look_at_segment_names(), klaviyo.look_at_fields(text),
    klaviyo.is_field_name(text), klaviyo.looked_at_source(text, text), klaviyo.list_segments(),
    klaviyo.segment_names(), klaviyo.segment_fields(text) from public;
