-- An account's limits are shared with others: with what else uses a private key of
-- it, and with people who set this product a part.

alter table klaviyo.connection
    add share integer not null default 100 check (share between 1 and 100); -- percent

-- pace: percent of our part that is used until slowed_until.
alter table klaviyo.rate_budget
    add pace integer not null default 100 check (pace between 1 and 100),
    add slowed_at timestamptz,
    add slowed_until timestamptz;

-- Of connections to one account the smallest share counts.
create function klaviyo.share_of(p_account text) returns integer
language sql stable as $$
    select coalesce(min(c.share), 100) from klaviyo.connection c
    where coalesce(c.account_id, 'connection:' || c.connection_id) = p_account
$$;

-- For how long a 429 that we did not cause lowers the pace.
create function klaviyo.slow_time() returns interval
language sql immutable as $$ select interval '5 minutes' $$;

-- The pace of an endpoint; a clock that went back does not keep it low.
create function klaviyo.pace_of(b klaviyo.rate_budget, p_now timestamptz) returns integer
language sql immutable as $$
    select case when b.slowed_at <= p_now and b.slowed_until > p_now
                     and b.slowed_until <= p_now + klaviyo.slow_time()
                then b.pace else 100 end
$$;

-- Permits are counted, so what is over the limit came from elsewhere: from now on
-- half of what we asked for before, a quarter of our part at least. The answers to one burst
-- count as one. The new pace; null: it was lowered a moment ago.
create function klaviyo.slow_account(p_account text, p_endpoint text) returns integer
language plpgsql as $$
declare
    v_now timestamptz;
    b klaviyo.rate_budget;
    v_pace integer;
begin
    insert into klaviyo.rate_budget (account, endpoint) values (p_account, p_endpoint)
    on conflict do nothing;
    select * into b from klaviyo.rate_budget r
    where r.account = p_account and r.endpoint = p_endpoint for update;
    v_now := clock_timestamp();
    if b.slowed_at between v_now - interval '10 seconds' and v_now then
        return null;
    end if;
    v_pace := greatest(klaviyo.pace_of(b, v_now) / 2, 25);
    update klaviyo.rate_budget r
    set pace = v_pace, slowed_at = v_now, slowed_until = v_now + klaviyo.slow_time()
    where r.account = p_account and r.endpoint = p_endpoint;
    return v_pace;
end
$$;

-- As before, of our part of the limits, and at least one request a window.
create or replace function klaviyo.take_place(p_account text, p_endpoint text, p_burst integer,
                                              p_steady integer, p_timeout_ms bigint,
                                              out place_id bigint, out wait_ms bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz;
    v_budget klaviyo.rate_budget;
    v_burst klaviyo.rate_place;
    v_next timestamptz;
    v_part numeric := klaviyo.share_of(p_account);
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
    v_part := v_part * klaviyo.pace_of(v_budget, v_now) / 10000;
    p_burst := greatest(floor(p_burst * v_part), 1);
    p_steady := greatest(floor(p_steady * v_part), 1);

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

-- null: there is no such connection; false: it is like that already.
create function klaviyo.change_connection(p_name text, p_share integer) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    if not exists (select from klaviyo.connection c where c.name = p_name) then
        return null;
    end if;
    update klaviyo.connection c set share = p_share where c.name = p_name and c.share <> p_share;
    return found;
end
$$;

revoke execute on function
    klaviyo.share_of(text), klaviyo.slow_time(), klaviyo.pace_of(klaviyo.rate_budget, timestamptz),
    klaviyo.slow_account(text, text), klaviyo.change_connection(text, integer)
    from public;
