-- Taking and ending a run. Each is one round trip, so that no lock is held
-- while the server waits for a worker.

-- Ends a run whose row the caller has locked.
create function klaviyo.close_run(p_run_id bigint, p_state text, p_reason text, p_detail text)
returns void language plpgsql as $$
declare
    v_export_id bigint;
begin
    update klaviyo.run
    set epoch = epoch + 1, reason = p_reason, detail = p_detail, finished_at = clock_timestamp(),
        lease_until = null, waiting_until = null,
        state = case when p_state = 'succeeded' and rejected_rows > 0
                     then 'succeeded_with_rejections' else p_state end
    where run_id = p_run_id
    returning export_id into v_export_id;

    delete from klaviyo.batch where run_id = p_run_id and state = 'complete';
    update klaviyo.batch set body = null, profile_ids = null
    where run_id = p_run_id and body is not null;
    -- An unfinished batch stays as long as a ledger row names it.
    if exists (select from klaviyo.batch b
               where b.export_id = v_export_id and b.run_id <> p_run_id
                 and b.state <> 'complete') then
        delete from klaviyo.batch b
        where b.export_id = v_export_id and b.run_id <> p_run_id
          and not exists (select from klaviyo.ledger l
                          where l.export_id = v_export_id and l.batch_id = b.batch_id);
    end if;
    perform klaviyo.settle_requests(p_run_id);
end
$$;

-- What stands against running an export now; null: nothing.
create function klaviyo.obstacle(p_export_id bigint, out state text, out reason text,
                                 out detail text)
language plpgsql as $$
declare
    v klaviyo.export;
    c klaviyo.connection;
begin
    select * into v from klaviyo.export where export_id = p_export_id for key share;
    if not found then
        state := 'cancelled'; reason := 'export_removed'; detail := 'the export was removed';
    elsif v.paused then
        state := 'cancelled'; reason := 'export_paused';
        detail := 'the export is paused: after export resume the next refresh runs it';
    else
        select * into c from klaviyo.connection where connection_id = v.connection_id;
        if c.attention_reason is not null then
            state := 'failed'; reason := 'connection_needs_attention';
            detail := format('connection %s needs attention (%s): run connection verify or rotate-key',
                             c.name, c.attention_reason);
        end if;
    end if;
end
$$;

-- An export that a worker's last free slot may run: its last run was short, or
-- it never had one that says how long it takes.
create function klaviyo.is_short(p_export_id bigint) returns boolean
language sql stable as $$
    select coalesce((select r.finished_at - r.started_at < interval '1 minute'
                     from klaviyo.run r
                     where r.export_id = p_export_id
                       and r.state in ('succeeded', 'succeeded_with_rejections')
                     order by r.run_id desc limit 1), true)
$$;

-- A run that its worker has left; of a key that the caller can open, or whose
-- connection needs attention, which ends it without the key.
create function klaviyo.abandoned_run(p_key_pair integer) returns bigint
language sql as $$
    select r.run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    where r.state = 'running' and r.lease_until < clock_timestamp()
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
    order by r.lease_until
    limit 1 for update of r skip locked
$$;

-- The queued run that a free slot should take: of the account with the fewest
-- runs going on, then of the one that was served the longest ago, so that one
-- with many exports starves nobody, even where there is one slot; then the
-- oldest. Only exports that are not running.
create index on klaviyo.run (started_at) where started_at is not null;
create function klaviyo.queued_run(p_key_pair integer, p_short_only boolean) returns bigint
language sql as $$
    with busy as (
        select coalesce(c.account_id, c.connection_id::text) as account, count(*) as runs
        from klaviyo.run r
        join klaviyo.export x using (export_id)
        join klaviyo.connection c using (connection_id)
        where r.state = 'running'
        group by 1),
    served as (
        select coalesce(c.account_id, c.connection_id::text) as account, max(r.started_at) as at
        from (select export_id, started_at from klaviyo.run
              where started_at is not null order by started_at desc limit 100) r
        join klaviyo.export x using (export_id)
        join klaviyo.connection c using (connection_id)
        group by 1)
    select r.run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    left join busy b on b.account = coalesce(c.account_id, c.connection_id::text)
    left join served s on s.account = coalesce(c.account_id, c.connection_id::text)
    where r.state = 'queued'
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
      and not exists (select from klaviyo.run o
                      where o.export_id = r.export_id and o.state = 'running')
      and (not p_short_only or klaviyo.is_short(r.export_id))
    order by coalesce(b.runs, 0), coalesce(s.at, '-infinity'), r.queued_at
    limit 1 for update of r skip locked
$$;

-- Takes the next run: a new epoch, a new lease; server processes that still
-- work under the old epoch are ended. No row: nothing to take. A row with
-- closed = true: the run was ended instead; ask again.
create function klaviyo.take_run(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                 p_recover boolean, p_short_only boolean)
returns table (run_id bigint, epoch integer, export_id bigint, taken_over boolean, closed boolean)
language plpgsql as $$
declare
    v_run_id bigint;
    v klaviyo.run;
    o record;
begin
    if p_recover then
        v_run_id := klaviyo.abandoned_run(p_key_pair);
    end if;
    v_run_id := coalesce(v_run_id, klaviyo.queued_run(p_key_pair, p_short_only));
    if v_run_id is null then
        return;
    end if;
    select * into v from klaviyo.run r where r.run_id = v_run_id;
    perform pg_terminate_backend(a.pid) from pg_stat_activity a
    where a.pid = any (v.backends) and a.pid <> pg_backend_pid()
      and v.server_started = pg_postmaster_start_time() -- else the numbers are others' by now
      and a.datname = current_database() and a.usename = current_user
      and a.application_name like 'klaviyo-worker%'; -- behind a pooler it may be another's by now

    select * into o from klaviyo.obstacle(v.export_id);
    if o.state is null and v.takes_without_progress >= 5 then
        o.state := 'failed'; o.reason := 'taken_over_too_often';
        o.detail := 'five takes in a row brought no progress: look at the workers'' logs';
    end if;
    if o.state is not null then
        perform klaviyo.close_run(v_run_id, o.state, o.reason, o.detail);
        return query select v_run_id, v.epoch, v.export_id, false, true;
        return;
    end if;

    return query
    update klaviyo.run r
    set state = 'running', epoch = r.epoch + 1, worker = p_worker,
        started_at = coalesce(r.started_at, clock_timestamp()),
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', waiting_until = null,
        first_batch = coalesce(r.first_batch, nextval('klaviyo.batch_id')), planned = false,
        backends = array[pg_backend_pid()], server_started = pg_postmaster_start_time(),
        takes_without_progress = r.takes_without_progress + (v.state = 'running')::integer
    where r.run_id = v_run_id
    returning r.run_id, r.epoch, r.export_id, v.state = 'running', false;
exception when unique_violation then
    return; -- the export is running: the index refuses a second one
end
$$;

-- Ends the run of the owner with this epoch. lost: it is somebody else's by
-- now; unfinished: there are batches to be sent; otherwise the state it ended in.
create function klaviyo.end_run(p_run_id bigint, p_epoch integer, p_state text, p_reason text,
                                p_detail text)
returns text language plpgsql as $$
begin
    perform from klaviyo.run r
    where r.run_id = p_run_id and r.epoch = p_epoch and r.state = 'running'
    for update;
    if not found then
        return 'lost';
    end if;
    -- Statements of their own: they see what committed while the lock was waited for.
    if p_state = 'succeeded' and (
        not (select r.planned from klaviyo.run r where r.run_id = p_run_id)
        or exists (select from klaviyo.batch b where b.run_id = p_run_id
                   and b.state in ('planned', 'sent'))) then
        return 'unfinished';
    end if;
    perform klaviyo.close_run(p_run_id, p_state, p_reason, p_detail);
    return (select r.state from klaviyo.run r where r.run_id = p_run_id);
end
$$;

-- The objects of one part of a batch: p_offsets and p_lengths say where the row
-- lies in the body (from 0), p_parts to which part it belongs.
create function klaviyo.part_of_body(p_body bytea, p_part integer, p_parts integer[],
                                     p_offsets integer[], p_lengths integer[]) returns bytea
language sql immutable as $$
    select string_agg(substring(p_body from u.at + 1 for u.len), E',\n'::bytea order by n)
    from unnest(p_parts, p_offsets, p_lengths) with ordinality as u(part, at, len, n)
    where u.part = p_part
$$;

-- Turns a batch into others: part[i] says in which new batch row i goes on,
-- 0 that it was refused. Its ledger rows are pointed at the new batches. One
-- function for stripping refused rows, for halving, for taking out one row.
create function klaviyo.split_batch(p_run_id bigint, p_epoch integer, p_batch_id bigint,
                                    p_addresses text[], p_parts integer[],
                                    p_offsets integer[], p_lengths integer[],
                                    p_codes text[], p_details text[])
returns boolean language plpgsql as $$
declare
    v_old klaviyo.batch;
    v_body bytea;
    v_ids bigint[] := '{}';
    v_refused integer;
begin
    perform from klaviyo.run r where r.run_id = p_run_id and r.epoch = p_epoch for key share;
    if not found then
        return false;
    end if;
    select * into strict v_old from klaviyo.batch where batch_id = p_batch_id for update;
    v_body := v_old.body || ''::bytea; -- unpacked once, not for every row

    for i in 1 .. (select coalesce(max(part), 0) from unnest(p_parts) part) loop
        insert into klaviyo.batch (export_id, run_id, row_count, profile_ids, body)
        select v_old.export_id, p_run_id, count(*), array_agg(v_old.profile_ids[n] order by n),
               klaviyo.part_of_body(v_body, i, p_parts, p_offsets, p_lengths)
        from unnest(p_parts) with ordinality as p(part, n) where part = i
        returning v_ids || batch_id into v_ids;
    end loop;

    update klaviyo.ledger l
    set batch_id = case when u.part = 0 then l.batch_id else v_ids[u.part] end,
        rejected_batch = case when u.part = 0 then l.batch_id else l.rejected_batch end
    from unnest(p_addresses, p_parts) as u(address, part)
    where l.export_id = v_old.export_id and l.address = u.address collate "C";

    insert into klaviyo.rejection (run_id, epoch, stage, email, profile_id, code, detail)
    select p_run_id, p_epoch, 'request', u.address, v_old.profile_ids[n], u.code, u.detail
    from unnest(p_addresses, p_parts, p_codes, p_details)
         with ordinality as u(address, part, code, detail, n)
    where u.part = 0;
    get diagnostics v_refused = row_count;

    update klaviyo.run r set rejected_rows = rejected_rows + v_refused,
           takes_without_progress = case when v_refused > 0 then 0 else r.takes_without_progress end
    where r.run_id = p_run_id;
    delete from klaviyo.batch where batch_id = p_batch_id;
    return true;
end
$$;

-- A key of the connection was refused: its queued runs end now, later events at
-- once, until verify or rotate-key succeeds. p_sealed_key: the key that was
-- tried; where the connection has got another since, nothing is done. Null: the
-- one that it has. True: marked.
create function klaviyo.mark_attention(p_connection_id bigint, p_reason text,
                                       p_sealed_key bytea default null) returns boolean
language plpgsql as $$
declare
    v_run_id bigint;
begin
    if p_sealed_key is not null and exists (
        select from klaviyo.connection_key k
        where k.connection_id = p_connection_id and k.sealed_key <> p_sealed_key) then
        return false;
    end if;
    update klaviyo.connection
    set attention_reason = p_reason, attention_at = clock_timestamp()
    where connection_id = p_connection_id;
    for v_run_id in
        select r.run_id from klaviyo.run r
        join klaviyo.export x using (export_id)
        where x.connection_id = p_connection_id and r.state = 'queued'
        order by r.run_id for update of r
    loop
        perform klaviyo.close_run(v_run_id, 'failed', 'connection_needs_attention',
                                  'the connection''s key was refused: run connection verify or rotate-key');
    end loop;
    return true;
end
$$;
