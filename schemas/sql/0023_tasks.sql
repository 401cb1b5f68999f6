-- Tasks: what needs a connection's key or the members, asked for by a person who
-- has neither and done by a worker, which has both.
--
-- kind is the words of the command that asked: "export preview". token fences as
-- a run's epoch does: who writes for a task names the token under which it took
-- it. An answer may hold values of members, so only its maker may read it, the
-- command deletes it once it has it, and retention deletes what is left of a day.
--
-- Numbers of a sequence come again where the database is set back to a copy, and a
-- worker that still holds one would write what is meant for another: an answer
-- for another person, or a trial. So what a worker holds has a number that does not.
create function klaviyo.random_id() returns bigint
language sql volatile as $$
    select ('x' || right(u.t, 12) || left(u.t, 4))::bit(64)::bigint & 9223372036854775807
    from (select gen_random_uuid()::text as t) u
$$;
revoke execute on function klaviyo.random_id() from public;
grant execute on function klaviyo.random_id() to klaviyo_worker, klaviyo_definer;

create table klaviyo.task (
    task_id       bigint primary key default klaviyo.random_id(),
    kind          text not null check (kind ~ '^(connection|export) [a-z]+( [a-z]+)?$'),
    connection_id bigint not null references klaviyo.connection on delete cascade,
    arguments     jsonb not null,
    state         text not null default 'waiting'
                  check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    worker        text,
    lease_until   timestamptz,
    token         integer not null default 0,
    cancelled     boolean not null default false, -- its maker does not wait any more
    progress      jsonb,
    answer        jsonb,
    error         text,
    again         boolean not null default false, -- the same may succeed later
    created_by    text not null,
    created_at    timestamptz not null default clock_timestamp(),
    ended_at      timestamptz
);
create index on klaviyo.task (created_at, task_id) where state in ('waiting', 'running');
create index on klaviyo.task (created_at);
create index on klaviyo.task (connection_id);

-- Who takes tasks: a command learns from it that nobody would.
create table klaviyo.task_worker (
    worker  text primary key,
    kinds   text[] not null,
    seen_at timestamptz not null
);

alter table klaviyo.task enable row level security;
alter table klaviyo.task_worker enable row level security;
create policy everything on klaviyo.task to klaviyo_worker using (true);
create policy everything on klaviyo.task_worker to klaviyo_worker using (true);
create policy own on klaviyo.task for select to klaviyo_admin, klaviyo_contributor
    using (created_by = klaviyo.caller());

-- A time that is yet to come and further away than any lease lasts was written
-- before the clock went back.
create function klaviyo.lease_holds(p_until timestamptz) returns boolean
language sql volatile as $$
    select p_until between clock_timestamp() and clock_timestamp() + interval '300 seconds'
$$;

-- -- for people ------------------------------------------------------------------

-- null: there is no such connection or export that the caller may use.
create function klaviyo.add_task(p_kind text, p_name text, p_arguments jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_task_id bigint;
    v_connection_id bigint := case split_part(p_kind, ' ', 1)
        when 'connection' then (select c.connection_id from klaviyo.connection c where c.name = p_name)
        when 'export' then (select x.connection_id from klaviyo.export x where x.name = p_name) end;
begin
    if v_connection_id is null or not klaviyo.may_use(v_connection_id) then
        return null;
    end if;
    if octet_length(p_arguments::text) > 10000 or jsonb_typeof(p_arguments) <> 'object' then
        raise invalid_parameter_value using message = 'the arguments of a task are a small object';
    end if;
    if (select count(*) from klaviyo.task t
        where t.created_by = klaviyo.caller() and t.state in ('waiting', 'running')) >= 20 then
        raise configuration_limit_exceeded using message =
            '20 tasks of yours are not done yet: wait for one of them to end';
    end if;
    insert into klaviyo.task (kind, connection_id, arguments, created_by)
    values (p_kind, v_connection_id, p_arguments || jsonb_build_object(
                'name', p_name, 'whole', klaviyo.is_admin(klaviyo.caller())), klaviyo.caller())
    returning task_id into v_task_id;
    if p_kind = 'export try' then -- it sends
        perform klaviyo.audit_write('try', 'export', p_name, jsonb_build_object(
            'rows', coalesce(p_arguments -> 'rows', '1')));
    end if;
    perform pg_notify('klaviyo_task', '');
    return v_task_id;
end
$$;

create function klaviyo.is_task_served(p_kind text) returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from klaviyo.task_worker w
                   where p_kind = any (w.kinds)
                     and w.seen_at between clock_timestamp() - interval '15 seconds'
                                       and clock_timestamp() + interval '15 seconds')
$$;

-- How a task of the caller's stands; null: there is none. served: a worker that
-- does such tasks was there within the last seconds. before: how many were asked
-- for earlier and are not done yet.
create function klaviyo.look_at_task(p_task_id bigint) returns jsonb
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'state', t.state, 'progress', t.progress, 'answer', t.answer, 'error', t.error,
        'again', t.again,
        'before', (select count(*) from klaviyo.task o
                   where (o.created_at, o.task_id) < (t.created_at, t.task_id) and o.state in ('waiting', 'running')),
        'served', klaviyo.is_task_served(t.kind))
    from klaviyo.task t
    where t.task_id = p_task_id and t.created_by = klaviyo.caller()
$$;

-- The caller does not wait for it any more: nobody begins it, and who does it
-- learns of it with the next renewal of the lease. An answer that is there goes.
create function klaviyo.drop_task(p_task_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update klaviyo.task t set cancelled = true
    where t.task_id = p_task_id and t.created_by = klaviyo.caller() and t.state = 'running';
    if not found then
        delete from klaviyo.task t where t.task_id = p_task_id and t.created_by = klaviyo.caller();
    end if;
end
$$;

-- -- for workers -----------------------------------------------------------------

-- The next task: of a kind that the caller knows, and of a key that it can open
-- (or that nobody can, which is then the answer). No row: there is none.
create function klaviyo.take_task(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                  p_kinds text[])
returns table (task_id bigint, token integer, kind text, arguments text)
language plpgsql as $$
declare
    v klaviyo.task;
begin
    insert into klaviyo.task_worker as w (worker, kinds, seen_at)
    values (p_worker, p_kinds, clock_timestamp())
    on conflict (worker) do update set kinds = excluded.kinds, seen_at = excluded.seen_at
    where w.seen_at not between clock_timestamp() - interval '5 seconds' and clock_timestamp();
    loop
        select t.* into v from klaviyo.task t
        left join klaviyo.connection_key k on k.connection_id = t.connection_id
        where t.state in ('waiting', 'running') and t.kind = any (p_kinds)
          and not coalesce(klaviyo.lease_holds(t.lease_until), false)
          and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair
               or k.key_pair_id <> (select max(p.key_pair_id) from klaviyo.key_pair p))
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

create function klaviyo.close_task(p_task_id bigint, p_answer jsonb, p_error text, p_again boolean)
returns void language plpgsql as $$
begin
    update klaviyo.task t
    set state = case when t.cancelled then 'cancelled' when p_error is null then 'done'
                     else 'failed' end,
        answer = case when not t.cancelled then p_answer end, error = p_error, again = p_again, lease_until = null,
        ended_at = clock_timestamp()
    where t.task_id = p_task_id;
    perform pg_notify('klaviyo_task', '');
end
$$;

-- Renews the lease. Null: the task is not the caller's any more; else whether its
-- maker has dropped it.
create function klaviyo.renew_task(p_task_id bigint, p_token integer, p_lease_ms bigint,
                                   p_progress jsonb) returns boolean
language plpgsql as $$
declare
    v_cancelled boolean;
begin
    update klaviyo.task t
    set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms',
        progress = coalesce(p_progress, t.progress)
    where t.task_id = p_task_id and t.token = p_token and t.state = 'running'
    returning t.cancelled into v_cancelled;
    if found and p_progress is not null then
        perform pg_notify('klaviyo_task', '');
    end if;
    return v_cancelled;
end
$$;

-- False: the task is not the caller's any more, and nothing was written.
create function klaviyo.end_task(p_task_id bigint, p_token integer, p_answer jsonb, p_error text,
                                 p_again boolean) returns boolean
language plpgsql as $$
begin
    perform from klaviyo.task t
    where t.task_id = p_task_id and t.token = p_token and t.state = 'running' for update;
    if not found then
        return false;
    end if;
    perform klaviyo.close_task(p_task_id, p_answer, p_error, p_again);
    return true;
end
$$;

-- Its worker stops: another one does it, at once, and this was no take in vain.
create function klaviyo.give_back_task(p_task_id bigint, p_token integer) returns void
language plpgsql as $$
begin
    update klaviyo.task t set state = 'waiting', lease_until = null, token = t.token - 1
    where t.task_id = p_task_id and t.token = p_token and t.state = 'running';
    perform pg_notify('klaviyo_task', '');
end
$$;

revoke execute on function
    klaviyo.lease_holds(timestamptz), klaviyo.add_task(text, text, jsonb),
    klaviyo.look_at_task(bigint), klaviyo.is_task_served(text), klaviyo.drop_task(bigint),
    klaviyo.take_task(text, bigint, integer, text[]),
    klaviyo.close_task(bigint, jsonb, text, boolean),
    klaviyo.renew_task(bigint, integer, bigint, jsonb),
    klaviyo.end_task(bigint, integer, jsonb, text, boolean),
    klaviyo.give_back_task(bigint, integer) from public;
