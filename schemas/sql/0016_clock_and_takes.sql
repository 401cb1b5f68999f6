-- What is stored as a time survives a database's clock that goes back, a take
-- passes over exports that somebody holds a lock on, and requests whose runs have
-- all ended are ended by a look now and then, whatever made the end miss them.

-- ---- rate limits ----

alter table klaviyo.rate_budget add blocked_at timestamptz; -- when blocked_until was told
alter table klaviyo.rate_place add granted_at timestamptz default clock_timestamp();

-- Until when nobody sends, as told: where the clock has gone back since, the rest
-- of the wait is counted from now. Never more than a day.
create function klaviyo.block_end(b klaviyo.rate_budget, p_now timestamptz)
returns timestamptz language sql immutable as $$
    select least(case when b.blocked_at > p_now then p_now + (b.blocked_until - b.blocked_at)
                      else b.blocked_until end,
                 p_now + interval '1 day')
$$;

-- Brings the permits of an endpoint to what they can mean at most: an answered
-- one counts for one window more, any other as long from now as it did from its
-- grant.
create function klaviyo.correct_permits(p_account text, p_endpoint text, p_now timestamptz)
returns void language sql as $$
    update klaviyo.rate_place p
    set burst_until = case when p.answered then least(p.burst_until, p_now + interval '1 second')
                           else p.burst_until - (p.granted_at - p_now) end,
        steady_until = case when p.answered then p_now + interval '60 seconds'
                            else p.steady_until - (p.granted_at - p_now) end,
        granted_at = p_now
    where p.account = p_account and p.endpoint = p_endpoint
      and case when p.answered then p.steady_until > p_now + interval '60 seconds'
               else p.granted_at > p_now end
$$;

-- As before, on corrected times. Commands count their requests, too, and people
-- touch no row of these tables: so it is done with its owner's rights.
create or replace function klaviyo.take_place(p_account text, p_endpoint text, p_burst integer,
                                              p_steady integer, p_timeout_ms bigint,
                                              out place_id bigint, out wait_ms bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz;
    v_budget klaviyo.rate_budget;
    v_burst klaviyo.rate_place;
    v_next timestamptz;
begin
    insert into klaviyo.rate_budget (account, endpoint) values (p_account, p_endpoint)
    on conflict do nothing;
    select * into v_budget from klaviyo.rate_budget b
    where b.account = p_account and b.endpoint = p_endpoint for update;
    v_now := clock_timestamp();
    if v_budget.blocked_at > v_now then
        v_budget.blocked_until := klaviyo.block_end(v_budget, v_now);
        v_budget.blocked_at := v_now;
        update klaviyo.rate_budget b set blocked_until = v_budget.blocked_until, blocked_at = v_now
        where b.account = p_account and b.endpoint = p_endpoint;
    end if;

    delete from klaviyo.rate_place p
    where p.account = p_account and p.endpoint = p_endpoint and p.steady_until <= v_now;
    perform klaviyo.correct_permits(p_account, p_endpoint, v_now);
    -- The moment at which one fewer than the limit are left, for each window. A
    -- request that is in flight may be answered any time: then ask again soon.
    select * into v_burst from klaviyo.rate_place p
    where p.account = p_account and p.endpoint = p_endpoint
    order by p.burst_until desc offset p_burst - 1 limit 1;
    if not v_burst.answered then
        v_burst.burst_until := least(v_burst.burst_until, v_now + interval '1 second');
    end if;
    select greatest(
        klaviyo.block_end(v_budget, v_now),
        v_burst.burst_until,
        (select p.steady_until from klaviyo.rate_place p
         where p.account = p_account and p.endpoint = p_endpoint
         order by p.steady_until desc offset p_steady - 1 limit 1)) into v_next;

    if v_next > v_now then
        wait_ms := ceil(extract(epoch from v_next - v_now) * 1000);
        return;
    end if;
    insert into klaviyo.rate_place (account, endpoint, burst_until, steady_until, granted_at)
    values (p_account, p_endpoint,
            v_now + p_timeout_ms * interval '1 ms' + interval '1 second',
            v_now + p_timeout_ms * interval '1 ms' + interval '60 seconds', v_now)
    returning rate_place.place_id into place_id;
    wait_ms := 0;
end
$$;

create or replace function klaviyo.return_place(p_place_id bigint) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update klaviyo.rate_place
    set answered = true, burst_until = clock_timestamp() + interval '1 second',
        steady_until = clock_timestamp() + interval '60 seconds'
    where place_id = p_place_id
$$;

-- Whose request it was is known now: it counts for that account.
create function klaviyo.move_place(p_place_id bigint, p_account text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update klaviyo.rate_place set account = p_account where place_id = p_place_id
$$;

create or replace function klaviyo.block_account(p_account text, p_endpoint text, p_wait_ms bigint)
returns void language plpgsql as $$
declare
    v_now timestamptz;
    v_budget klaviyo.rate_budget;
begin
    insert into klaviyo.rate_budget (account, endpoint) values (p_account, p_endpoint)
    on conflict do nothing;
    select * into v_budget from klaviyo.rate_budget b
    where b.account = p_account and b.endpoint = p_endpoint for update;
    v_now := clock_timestamp();
    update klaviyo.rate_budget b
    set blocked_until = greatest(klaviyo.block_end(v_budget, v_now),
                                 v_now + least(p_wait_ms, 86400000) * interval '1 ms'),
        blocked_at = v_now
    where b.account = p_account and b.endpoint = p_endpoint;
end
$$;

-- ---- leases and takes ----

alter table klaviyo.run add lease_renewed_at timestamptz; -- null: by a worker of an older version
create index on klaviyo.run (first_batch) where first_batch is not null;

-- A lease that was renewed at a time that is yet to come: the clock has gone back,
-- and it lasts as long from now as it did from then; so does the rest of a parked run.
create function klaviyo.correct_leases() returns void
language sql as $$
    update klaviyo.run r
    set lease_until = clock_timestamp()
                      + least(r.lease_until - r.lease_renewed_at, interval '300 seconds'),
        parked_until = clock_timestamp() + (r.parked_until - r.lease_renewed_at),
        lease_renewed_at = clock_timestamp()
    where r.run_id in (select o.run_id from klaviyo.run o
                       where o.state = 'running' and o.lease_renewed_at > clock_timestamp()
                       for no key update skip locked)
$$;

-- The queued run that a free slot should take: of the account with the fewest
-- runs going on, then of the one that was served the longest ago, so that one
-- with many exports starves nobody, even where there is one slot; then the
-- oldest. Only exports that are not running. One that somebody holds a lock on is
-- passed over. Numbers tell the order, as they go up whatever the clock does.
create or replace function klaviyo.queued_run(p_key_pair integer, p_short_only boolean)
returns bigint language plpgsql as $$
declare
    v record;
begin
    for v in
        with busy as (
            select coalesce(c.account_id, c.connection_id::text) as account, count(*) as runs
            from klaviyo.run r
            join klaviyo.export x using (export_id)
            join klaviyo.connection c using (connection_id)
            where r.state = 'running'
            group by 1),
        served as (
            select coalesce(c.account_id, c.connection_id::text) as account,
                   max(r.first_batch) as number
            from (select export_id, first_batch from klaviyo.run
                  where first_batch is not null order by first_batch desc limit 100) r
            join klaviyo.export x using (export_id)
            join klaviyo.connection c using (connection_id)
            group by 1)
        select r.run_id, x.export_id
        from klaviyo.run r
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
        order by coalesce(b.runs, 0), coalesce(s.number, 0), r.run_id
    loop
        perform from klaviyo.run r
        where r.run_id = v.run_id and r.state = 'queued' for update skip locked;
        continue when not found;
        perform from klaviyo.export x where x.export_id = v.export_id for key share skip locked;
        continue when not found and v.export_id is not null;
        return v.run_id;
    end loop;
    return null;
end
$$;

-- Takes the next run: a new epoch, a new lease; server processes that still
-- work under the old epoch are ended. No row: nothing to take. A row with
-- closed = true: the run was ended instead; ask again.
create or replace function klaviyo.take_run(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                            p_recover boolean, p_short_only boolean)
returns table (run_id bigint, epoch integer, export_id bigint, taken_over boolean, closed boolean)
language plpgsql as $$
declare
    v_run_id bigint;
    v klaviyo.run;
    o record;
begin
    perform klaviyo.correct_leases();
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
      -- Behind a pooler it may be another's by now: only what began under the old lease.
      and a.application_name like 'klaviyo-worker%' and a.xact_start < v.lease_until;

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
        lease_until = clock_timestamp() + p_lease_ms * interval '1 ms',
        lease_renewed_at = clock_timestamp(), waiting_until = null,
        first_batch = coalesce(r.first_batch, nextval('klaviyo.batch_id')), planned = false,
        backends = array[pg_backend_pid()], server_started = pg_postmaster_start_time(),
        takes_without_progress = r.takes_without_progress + (v.state = 'running')::integer
    where r.run_id = v_run_id
    returning r.run_id, r.epoch, r.export_id, v.state = 'running', false;
exception when unique_violation then
    return; -- the export is running: the index refuses a second one
end
$$;

-- ---- ends that were missed ----

create index on klaviyo.request (request_id) where state = 'open';

-- Ends open requests whose runs have all ended, p_limit at most; how many.
create function klaviyo.settle_missed(p_limit integer) returns integer
language plpgsql as $$
declare
    v_run_id bigint;
    v_n integer := 0;
begin
    for v_run_id in
        select min(a.run_id) from klaviyo.request q
        join klaviyo.request_run a using (request_id)
        join klaviyo.run r using (run_id)
        where q.state = 'open'
        group by q.request_id
        having not bool_or(r.state in ('queued', 'running'))
        order by q.request_id
        limit p_limit
    loop
        perform klaviyo.settle_requests(v_run_id);
        v_n := v_n + 1;
    end loop;
    return v_n;
end
$$;
