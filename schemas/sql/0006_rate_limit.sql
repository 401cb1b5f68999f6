-- One budget per Klaviyo account and endpoint, for all workers together.
--
-- The receiver counts in windows whose phase is unknown to us, and a request
-- arrives somewhere between sending and answer. So a place counts from its
-- grant until one window after its answer; one that is never answered counts
-- until its request must have timed out, and ages by itself.
create table klaviyo.rate_budget (
    account       text not null,
    endpoint      text not null,
    blocked_until timestamptz not null default '-infinity', -- from Retry-After
    primary key (account, endpoint)
);

create table klaviyo.rate_place (
    place_id     bigint generated always as identity primary key,
    account      text not null,
    endpoint     text not null,
    burst_until  timestamptz not null,
    steady_until timestamptz not null,
    answered     boolean not null default false
);
create index on klaviyo.rate_place (account, endpoint, steady_until);

-- Takes a place: place_id and no wait, or no place and how long until the next
-- one may be free. The clock is read after the row is locked.
create function klaviyo.take_place(p_account text, p_endpoint text, p_burst integer,
                                   p_steady integer, p_timeout_ms bigint,
                                   out place_id bigint, out wait_ms bigint)
language plpgsql as $$
declare
    v_now timestamptz;
    v_blocked timestamptz;
    v_burst klaviyo.rate_place;
    v_next timestamptz;
begin
    insert into klaviyo.rate_budget (account, endpoint) values (p_account, p_endpoint)
    on conflict do nothing;
    select b.blocked_until into v_blocked from klaviyo.rate_budget b
    where b.account = p_account and b.endpoint = p_endpoint for update;
    v_now := clock_timestamp();

    delete from klaviyo.rate_place p
    where p.account = p_account and p.endpoint = p_endpoint and p.steady_until <= v_now;
    -- The moment at which one fewer than the limit are left, for each window. A
    -- request that is in the air may be answered any time: then ask again soon.
    select * into v_burst from klaviyo.rate_place p
    where p.account = p_account and p.endpoint = p_endpoint
    order by p.burst_until desc offset p_burst - 1 limit 1;
    if not v_burst.answered then
        v_burst.burst_until := least(v_burst.burst_until, v_now + interval '1 second');
    end if;
    select greatest(
        v_blocked,
        v_burst.burst_until,
        (select p.steady_until from klaviyo.rate_place p
         where p.account = p_account and p.endpoint = p_endpoint
         order by p.steady_until desc offset p_steady - 1 limit 1)) into v_next;

    if v_next > v_now then
        wait_ms := ceil(extract(epoch from v_next - v_now) * 1000);
        return;
    end if;
    insert into klaviyo.rate_place (account, endpoint, burst_until, steady_until)
    values (p_account, p_endpoint,
            v_now + p_timeout_ms * interval '1 ms' + interval '1 second',
            v_now + p_timeout_ms * interval '1 ms' + interval '60 seconds')
    returning rate_place.place_id into place_id;
    wait_ms := 0;
end
$$;

-- The request was answered or has timed out: its place ages from now.
create function klaviyo.return_place(p_place_id bigint) returns void
language sql as $$
    update klaviyo.rate_place
    set answered = true, burst_until = clock_timestamp() + interval '1 second',
        steady_until = clock_timestamp() + interval '60 seconds'
    where place_id = p_place_id
$$;

-- Nobody sends to this endpoint of the account for so long.
create function klaviyo.block_account(p_account text, p_endpoint text, p_wait_ms bigint)
returns void language sql as $$
    insert into klaviyo.rate_budget
    values (p_account, p_endpoint, clock_timestamp() + p_wait_ms * interval '1 ms')
    on conflict (account, endpoint)
    do update set blocked_until = greatest(rate_budget.blocked_until, excluded.blocked_until)
$$;
