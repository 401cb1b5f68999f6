-- A task waits for a worker that is there and could do it; the command that asked for it
-- ends with "try again later" where there is none. A worker that is busy with another task
-- is there, too, and one whose key file does not open the connection's key is none.
alter table klaviyo.task_worker add key_pair_id integer; -- null: a worker of an older version

create function klaviyo.is_there(w klaviyo.task_worker) returns boolean
language sql volatile as $$
    select w.seen_at between clock_timestamp() - interval '15 seconds'
                         and clock_timestamp() + interval '15 seconds'
        or exists (select from klaviyo.task t
                   where t.worker = w.worker and t.state = 'running' and klaviyo.lease_holds(t.lease_until))
$$;

-- A key that is sealed for an older pair than the newest one is unreadable for every worker:
-- any of them can say so.
create function klaviyo.is_for_key_pair(p_connection_id bigint, p_key_pair integer) returns boolean
language sql stable as $$
    select coalesce((select k.key_pair_id = p_key_pair
                         or k.key_pair_id <> (select max(p.key_pair_id) from klaviyo.key_pair p)
                     from klaviyo.connection_key k where k.connection_id = p_connection_id), true)
$$;

create or replace function klaviyo.is_task_served(p_kind text) returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from klaviyo.task_worker w where p_kind = any (w.kinds) and klaviyo.is_there(w))
$$;

create or replace function klaviyo.look_at_task(p_task_id bigint) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'state', t.state, 'progress', t.progress, 'answer', t.answer, 'error', t.error,
        'again', t.again,
        'before', (select count(*) from klaviyo.task o
                   where (o.created_at, o.task_id) < (t.created_at, t.task_id) and o.state in ('waiting', 'running')),
        'served', exists (select from klaviyo.task_worker w
                          where t.kind = any (w.kinds) and klaviyo.is_there(w)
                            and klaviyo.is_for_key_pair(t.connection_id, w.key_pair_id)))
    from klaviyo.task t
    where t.task_id = p_task_id and t.created_by = klaviyo.caller()
$$;

create or replace function klaviyo.take_task(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                             p_kinds text[])
returns table (task_id bigint, token integer, kind text, arguments text)
language plpgsql as $$
declare
    v klaviyo.task;
begin
    insert into klaviyo.task_worker as w (worker, kinds, key_pair_id, seen_at)
    values (p_worker, p_kinds, p_key_pair, clock_timestamp())
    on conflict (worker) do update
    set kinds = excluded.kinds, key_pair_id = excluded.key_pair_id, seen_at = excluded.seen_at
    where w.seen_at not between clock_timestamp() - interval '5 seconds' and clock_timestamp();
    loop
        select t.* into v from klaviyo.task t
        where t.state in ('waiting', 'running') and t.kind = any (p_kinds)
          and not coalesce(klaviyo.lease_holds(t.lease_until), false)
          and klaviyo.is_for_key_pair(t.connection_id, p_key_pair)
        order by t.created_at, t.task_id
        limit 1 for update of t skip locked;
        if not found then
            return;
        end if;
        exit when v.token < 5 and not v.cancelled;
        perform klaviyo.close_task(v.task_id, null,
            'five workers in a row did not bring it to an end: their logs say why', false);
    end loop;
    return query
    update klaviyo.task t
    set state = 'running', token = t.token + 1, worker = p_worker, progress = null,
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
    where t.task_id = v.task_id
    returning t.task_id, t.token, t.kind, t.arguments::text;
end
$$;
