-- What upstream's data say of an export, before it is stored: how many members
-- it would have, with a well-formed address and with each mapped field.

-- Counts only, for those who may not read the data themselves. It belongs to
-- klaviyo_source: code in the site's view runs with that role's rights.
-- members: all of them, each once. looked_at: all of them up to 10,000, else as
-- many by the hash of their ids, so that the look is exact for most segments and
-- bounded for all. p_fields: an array of objects with path, answered in its
-- order: present (neither absent nor null), nested (objects and arrays), flat
-- (an attribute has the whole path for a name).
create or replace function klaviyo.look_at_source(p_segments text[], p_email_path text[],
                                                  p_fields jsonb)
returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_source text := klaviyo.members_of(p_segments);
    v_one_row_each text := case when cardinality(p_segments) > 1
                                then 'distinct on (profile_id::text)' else '' end;
    v_unknown text;
    v_members bigint;
    v_columns text;
    v_counts jsonb;
begin
    select string_agg(given.segment_id, ', ' order by given.segment_id) into v_unknown
    from unnest(p_segments) as given(segment_id)
    where not exists (select from insights.segment s
                      where s.segment_id::text = given.segment_id);
    execute format('select count(*) from (select %s from %s) m',
                   case when v_one_row_each = '' then '1' else 'distinct profile_id::text' end, v_source)
    into v_members;

    select coalesce(string_agg(format(
        'jsonb_build_object(''present'', count(*) filter (where jsonb_typeof(%1$s) <> ''null''), '
        '''nested'', count(*) filter (where jsonb_typeof(%1$s) in (''object'', ''array'')), '
        '''flat'', count(*) filter (where m.attributes ? %2$L))',
        case when f.path = '{@profile_id}' then 'to_jsonb(m.profile_id)'
             else format('(m.attributes #> %L::text[])', f.path) end,
        array_to_string(f.path, '.')), ', ' order by f.n), '')
    into v_columns
    from (select array(select jsonb_array_elements_text(e.field -> 'path')) as path, e.n
          from jsonb_array_elements(p_fields) with ordinality as e(field, n)) f;
    execute format(
        'select jsonb_build_object(''looked_at'', count(*), '
        '''with_email'', count(*) filter (where jsonb_typeof(m.email) = ''string''), '
        '''addresses'', count(*) filter (where jsonb_typeof(m.email) = ''string'' '
        'and klaviyo.is_address(klaviyo.address_of(m.email #>> ''{}''))), '
        '''email_flat'', count(*) filter (where m.attributes ? %4$L), '
        '''fields'', jsonb_build_array(%1$s)) from (select r.*, %5$s as email from ('
        'select %2$s profile_id::text as profile_id, attributes::jsonb as attributes from %3$s%6$s '
        'offset 0) r) m',
        v_columns, v_one_row_each, v_source, array_to_string(p_email_path, '.'),
        case when p_email_path = '{@profile_id}' then 'to_jsonb(r.profile_id)'
             else format('r.attributes #> %L::text[]', p_email_path) end,
        case when v_members > 10000
             then format(' and hashtextextended(profile_id::text, 0) %% %s = 0',
                         (v_members + 9999) / 10000) else '' end)
    into v_counts;
    return v_counts || jsonb_build_object('members', v_members, 'unknown_segments', v_unknown);
end
$$;

-- The same of an export as a draft (see klaviyo.add_export) would make or change
-- it; null: there is no such export or connection that the caller may use. What
-- the site's code does to the session is undone, and it can write nothing: it
-- runs in a read-only subtransaction that is rolled back. error: the view cannot
-- be read; in PostgreSQL's words where those are about names alone.
create function klaviyo.look_at_draft(p_name text, p_draft jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.export;
    v_fields jsonb;
    v_segments text[];
    v_seen jsonb;
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
        raise sqlstate 'KW001'; -- rolls back; what was seen stays in the variable
    exception
        when sqlstate 'KW001' then
            null;
        when others then
            return jsonb_build_object('error', case when sqlstate like '42%' then sqlerrm || ' ' else '' end
                                               || '(SQLSTATE ' || sqlstate || ')');
    end;
    return v_seen || jsonb_build_object(
        'max_profiles', v.max_profiles, 'email_field', klaviyo.path_text(v.email_path), 'fields', (
            select coalesce(jsonb_agg(
                a.field || b.field || jsonb_build_object('path', klaviyo.path_text(
                    klaviyo.texts(a.field -> 'path'))) order by a.n), '[]')
            from jsonb_array_elements(v_fields) with ordinality as a(field, n)
            join jsonb_array_elements(v_seen -> 'fields') with ordinality as b(field, n) using (n)));
end
$$;

create or replace function klaviyo.look_at_export(p_name text) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select klaviyo.look_at_draft(p_name, '{}')
$$;
