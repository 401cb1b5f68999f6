-- What was delivered, for others to read.

-- A row of the ledger in words.
--   pending    to be sent, or sent and not confirmed: it goes again with the next run
--   rejected   Klaviyo refused it last time; it goes again with the next run
--   delivered  on the list by this export, with the values that were sent last
--   leaving    delivered, and a member no more: it is to be taken off the list
-- since: when the run that sent it last had ended; while that run goes on, when the
-- batch was sent. Run and time are null where they were forgotten before version 27.
create view klaviyo.delivery as
select l.export_id, l.profile_id, l.address,
       case when l.rejected_batch = l.batch_id then 'rejected'
            when b.state <> 'complete' then 'pending'
            when l.left_run = p.run_id and l.left_epoch = p.plan_epoch then 'leaving'
            when l.removing then 'pending' -- perhaps off the list, and a member again
            else 'delivered' end as state,
       coalesce(s.ended_at, b.sent_at) as since, s.run_id
from klaviyo.export x
-- The newest pass over the members that came to its end: only its marks count.
left join lateral (select r.run_id, r.plan_epoch from klaviyo.run r
                   where r.export_id = x.export_id and r.plan_epoch is not null
                     and not r.is_trial
                   order by r.run_id desc limit 1) p on true
join klaviyo.ledger l on l.export_id = x.export_id
left join klaviyo.batch b on b.batch_id = l.batch_id
left join lateral (
    select u.run_id, u.ended_at
    from ((select r.run_id, r.first_batch, r.finished_at as ended_at from klaviyo.run r
           where r.export_id = l.export_id and r.first_batch <= l.batch_id
           order by r.first_batch desc limit 1)
          union all
          (select r.run_id, r.first_batch, r.ended_at from klaviyo.past_run r
           where r.export_id = l.export_id and r.first_batch <= l.batch_id
           order by r.first_batch desc limit 1)) u
    order by u.first_batch desc limit 1) s on true;

-- The interface: columns and their meaning stay. Contributors have the rows of the exports that
-- they may use, administrators all; viewers all, without the addresses.
create view klaviyo.delivered with (security_barrier) as
with visible as materialized (
    select x.export_id, x.name, klaviyo.may_use(x.connection_id) as whole
    from klaviyo.export x
    where klaviyo.may_use(x.connection_id)
       or pg_has_role(klaviyo.caller(), 'klaviyo_viewer', 'member'))
select v.name as export, d.profile_id, case when v.whole then d.address end as address, d.state,
       d.since, d.run_id as run
from visible v join klaviyo.delivery d using (export_id);

comment on view klaviyo.delivered is
    'who is on which list by which export: one row for each export and address';
comment on column klaviyo.delivered.state is 'pending, rejected, delivered or leaving';
comment on column klaviyo.delivered.since is
    'the end of the run that sent it last; while that goes on, when the batch was sent';

-- -- a person -----------------------------------------------------------------

-- The members of segments that have an address, 100 at most: segment and profile.
-- It belongs to klaviyo_source, as the site's view runs with that role's rights.
create function klaviyo.look_for_address(p_segments text[], p_email_path text[], p_address text)
returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_found jsonb;
begin
    execute format(
        'select coalesce(jsonb_agg(jsonb_build_object(''segment'', m.segment_id, ''profile_id'','
        ' m.profile_id) order by m.segment_id, m.profile_id), ''[]'') from ('
        'select r.segment_id, r.profile_id from (select segment_id::text as segment_id,'
        ' profile_id::text as profile_id, %1$s as email from %2$s) r'
        ' where jsonb_typeof(r.email) = ''string'' and klaviyo.address_of(r.email #>> ''{}'') = $1'
        ' order by r.segment_id, r.profile_id limit 100) m',
        case when p_email_path = '{@profile_id}' then 'to_jsonb(profile_id)'
             else format('attributes::jsonb #> %L::text[]', p_email_path) end,
        klaviyo.members_of(p_segments))
    into v_found using p_address;
    return v_found;
end
$$;

-- The same of an export. What the site's code does to the session is undone, as in
-- klaviyo.look_at_draft(). An object: the view cannot be read; error says why.
create function klaviyo.look_for_member(p_export klaviyo.export, p_address text) returns jsonb
language plpgsql as $$
declare
    v_found jsonb;
begin
    perform set_config('transaction_read_only', 'on', true);
    v_found := klaviyo.look_for_address(
        array(select s.segment_id from klaviyo.export_segment s
              where s.export_id = p_export.export_id), p_export.email_path, p_address);
    raise sqlstate 'KW001'; -- rolls back; what was found stays in the variable
exception
    when sqlstate 'KW001' then
        return v_found;
    when query_canceled then
        raise;
    when others then
        return jsonb_build_object('error', case when sqlstate like '42%' then sqlerrm || ' ' else '' end
                                           || '(SQLSTATE ' || sqlstate || ')');
end
$$;

create function klaviyo.rejections_of(p_export_id bigint, p_address text) returns jsonb
language sql stable as $$
    select coalesce(jsonb_agg(to_jsonb(f) order by f.run desc), '[]')
    from (select j.run_id as run, klaviyo.utc(r.finished_at) as ended_at, j.stage, j.code, j.detail
          from klaviyo.rejection j join klaviyo.run r using (run_id)
          where r.export_id = p_export_id and j.email = p_address
          order by j.run_id desc limit 20) f
$$;

-- Where an address is: one object for each export of the caller's that has to do
-- with it. null: it is blank.
--   state     as klaviyo.delivery has it; not_sent: a member that no run has read yet;
--             rejected also where it never got as far as the ledger
--   segments  of the export, where a member has the address now; profiles: those members
create function klaviyo.show_member(p_address text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_address text := klaviyo.address_of(p_address);
    v_exports jsonb := '[]';
    v_members jsonb;
    v_rejections jsonb;
    x klaviyo.export;
    d record;
begin
    if v_address is null then
        return null;
    end if;
    for x in select * from klaviyo.export e where klaviyo.may_use(e.connection_id) order by e.name loop
        select * into d from klaviyo.delivery v
        where v.export_id = x.export_id and v.address = v_address collate "C";
        v_members := klaviyo.look_for_member(x, v_address);
        v_rejections := klaviyo.rejections_of(x.export_id, v_address);
        continue when d.state is null and v_members = '[]' and v_rejections = '[]';
        v_exports := v_exports || jsonb_build_object(
            'export', x.name,
            'connection', (select c.name from klaviyo.connection c
                           where c.connection_id = x.connection_id),
            'list', x.list_id,
            'state', coalesce(d.state, case when v_rejections <> '[]' then 'rejected'
                                            when v_members @> '[{}]' then 'not_sent' end),
            'profile_id', d.profile_id, 'since', klaviyo.utc(d.since), 'run', d.run_id,
            'segments', (select coalesce(jsonb_agg(distinct m.value -> 'segment'), '[]')
                         from jsonb_array_elements(case when jsonb_typeof(v_members) = 'array'
                                                        then v_members else '[]' end) m),
            'profiles', (select coalesce(jsonb_agg(distinct m.value -> 'profile_id'), '[]')
                         from jsonb_array_elements(case when jsonb_typeof(v_members) = 'array'
                                                        then v_members else '[]' end) m),
            'source_error', v_members -> 'error', 'rejections', v_rejections);
    end loop;
    return jsonb_build_object('address', v_address, 'exports', v_exports);
end
$$;

revoke execute on function
    klaviyo.look_for_address(text[], text[], text), klaviyo.look_for_member(klaviyo.export, text),
    klaviyo.rejections_of(bigint, text), klaviyo.show_member(text)
    from public;
