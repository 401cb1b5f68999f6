-- What upstream's data look like: paths into attributes, addresses, and ids of
-- other types than text.

-- A path as people write it: parts with a dot or a quote in them, and a first
-- one that begins with "@", stand in double quotes. {@profile_id} names no
-- attribute but the profile's id.
create function klaviyo.path_text(p_path text[]) returns text
language sql immutable parallel safe as $$
    select case when p_path = '{@profile_id}' then '@profile_id' else (
        select string_agg(case when part ~ '[."]' or part = '' or (n = 1 and part ~ '^@')
                               then '"' || replace(part, '"', '""') || '"' else part end,
                          '.' order by n)
        from unnest(p_path) with ordinality as u(part, n)) end
$$;

-- An address as it is compared, judged and sent: trimmed (ASCII's six blanks,
-- U+00A0, U+200B to U+200D, U+2060, U+FEFF), ASCII letters in lower case. Null:
-- there is none. Worker and judgement read with this one function. Its argument
-- stands in it once, or PostgreSQL would call it for each row and not inline it.
create function klaviyo.address_of(p_text text) returns text
language sql immutable parallel safe as $$
    select nullif(lower(btrim(p_text, E' \t\n\x0b\f\r\u00a0\u200b\u200c\u200d\u2060\ufeff')
                        collate "C"), '')
$$;

-- Well formed as worker/export/address.h has it; a test holds the two together.
create function klaviyo.is_address(p_address text) returns boolean
language sql immutable parallel safe as $$
    select coalesce(length(p_address) <= 254 and position('@' in p_address) <= 65
        and p_address collate "C" ~ ('^[a-z0-9!#$%&''*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*+/=?^_`{|}~-]+)*@'
            || '([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63}|xn--[a-z0-9-]{0,58}[a-z0-9])$'),
        false)
$$;

-- The members of segments, as what follows FROM. The ids stand in it, so that
-- PostgreSQL's planner sees them; where they are many, and the caller names
-- their export, they are looked up. Where the view's ids are of another type
-- they are compared in that type, so that an index serves, and only those are
-- that the type would write in just that way: segment "07" is not segment 7.
create function klaviyo.members_of(p_segments text[], p_export_id bigint default null) returns text
language plpgsql stable as $$
declare
    v_type text := (
        select coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_class c on c.oid = a.attrelid
        join pg_catalog.pg_namespace s on s.oid = c.relnamespace
        join pg_catalog.pg_type t on t.oid = a.atttypid
        where s.nspname = 'insights' and c.relname = 'segment_profile'
          and a.attname = 'segment_id' and not a.attisdropped);
    v_column text := case when v_type in ('text', 'character varying', 'uuid', 'smallint', 'integer',
                                          'bigint') then 'segment_id' else 'segment_id::text' end;
    v_cast text := case when v_type = 'uuid' then 'uuid'
                        when v_type in ('smallint', 'integer', 'bigint') then 'bigint'
                        else 'text' end;
    -- Of the canonical form of its type.
    v_fits text := case v_cast
        when 'uuid' then $c$ s ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' $c$
        when 'bigint' then $c$ case when s ~ '^(0|-?[1-9][0-9]{0,18})$'
            then s::numeric between -9223372036854775808 and 9223372036854775807 end $c$
        else ' true ' end;
    v_ids text[];
begin
    if p_export_id is not null and cardinality(p_segments) > 500 then
        return format('insights.segment_profile where %s in (select s::%s from ('
                      'select segment_id as s from klaviyo.export_segment where export_id = %s'
                      ' offset 0) g where %s)', v_column, v_cast, p_export_id, v_fits);
    end if;
    execute format('select coalesce(array_agg(s order by s), ''{}'') from unnest($1) s where %s', v_fits)
    into v_ids using p_segments;
    return format('insights.segment_profile where %s = any (%L::%s[])', v_column, v_ids, v_cast);
end
$$;

-- The audit says paths as people write them.
create or replace function klaviyo.audit_of_export(x klaviyo.export) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'connection', (select c.name from klaviyo.connection c
                       where c.connection_id = x.connection_id),
        'list', x.list_id, 'email_field', klaviyo.path_text(x.email_path),
        'max_profiles', x.max_profiles)
$$;

create or replace function klaviyo.audit_fields() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v record;
begin
    for v in
        select x.name, jsonb_object_agg(c.target || ' ' || c.name, klaviyo.path_text(c.path))
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

revoke execute on function klaviyo.path_text(text[]), klaviyo.address_of(text),
    klaviyo.is_address(text), klaviyo.members_of(text[], bigint) from public;
grant execute on function klaviyo.path_text(text[])
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;
grant execute on function klaviyo.address_of(text), klaviyo.is_address(text),
    klaviyo.members_of(text[], bigint) to klaviyo_worker;
