-- Taking people who left off the list.

-- -- a list is for one run while people are taken off it ------------------------

-- Of a run that has nothing more to send to its list: the epoch in which it said so.
alter table klaviyo.run add removal_epoch integer;

alter table klaviyo.run drop constraint run_wait_reason_check,
    add constraint run_wait_reason_check
    check (wait_reason in ('rate_limited', 'klaviyo_unavailable', 'database_unavailable',
                           'key_unreadable', 'list_in_use')) not valid;

-- Who takes people off a list. It counts as long as that run goes on under the epoch in which it
-- claimed the list; nothing needs to be given back.
create table klaviyo.list_claim (
    account_id text not null,
    list_id    text not null,
    run_id     bigint not null references klaviyo.run on delete cascade,
    primary key (account_id, list_id)
);
alter table klaviyo.list_claim enable row level security;
create policy everything on klaviyo.list_claim to klaviyo_admin, klaviyo_worker using (true);

-- Other exports to the same list. A connection whose account is not known may be of the same.
create function klaviyo.sharers(p_export_id bigint) returns setof bigint
language sql stable as $$
    select o.export_id
    from klaviyo.export x
    join klaviyo.connection c using (connection_id)
    join klaviyo.export o on o.list_id = x.list_id and o.export_id <> x.export_id
    join klaviyo.connection d on d.connection_id = o.connection_id
    where x.export_id = p_export_id
      and (d.account_id = c.account_id or d.account_id is null or c.account_id is null)
$$;

-- Another export has the address on the same list.
create function klaviyo.is_held_elsewhere(p_export_id bigint, p_address text) returns boolean
language sql stable as $$
    select exists (
        select from klaviyo.sharers(p_export_id) as o (export_id)
        join klaviyo.ledger l on l.export_id = o.export_id
        where l.address = p_address collate "C" and not l.removing
          and (l.listed or l.rejected_batch is null or l.batch_id > l.rejected_batch))
$$;

-- Takes and claims of one list wait for each other, so that neither overlooks the other.
create function klaviyo.lock_list(p_export_id bigint, p_exclusive boolean) returns void
language plpgsql as $$
declare
    v_key bigint;
begin
    select hashtextextended('klaviyo list ' || x.list_id, 0) into v_key
    from klaviyo.export x where x.export_id = p_export_id;
    if v_key is null then
        return;
    elsif p_exclusive then
        perform pg_advisory_xact_lock(v_key);
    else
        perform pg_advisory_xact_lock_shared(v_key);
    end if;
end
$$;

-- People are being taken off the run's list by another run.
create function klaviyo.list_is_claimed(p_run_id bigint) returns boolean
language sql stable as $$
    select exists (
        select from klaviyo.list_claim k
        join klaviyo.run h on h.run_id = k.run_id
        join klaviyo.run r on r.run_id = p_run_id
        join klaviyo.export x on x.export_id = r.export_id
        join klaviyo.connection c on c.connection_id = x.connection_id
        where k.list_id = x.list_id and (k.account_id = c.account_id or c.account_id is null)
          and h.run_id <> p_run_id and h.state = 'running' and h.removal_epoch = h.epoch)
$$;

-- Claims the list of a run whose row the caller has locked: busy, alone or shared (with other
-- exports). What other runs to that list may still send is waited for; one that waits for its
-- claim, too, has nothing to send any more.
create function klaviyo.claim_list(p_run_id bigint) returns text
language plpgsql as $$
declare
    v_export_id bigint;
    v_account text;
    v_list text;
    v_shared boolean;
begin
    select x.export_id, c.account_id, x.list_id into strict v_export_id, v_account, v_list
    from klaviyo.run r
    join klaviyo.export x using (export_id)
    join klaviyo.connection c using (connection_id)
    where r.run_id = p_run_id;
    perform klaviyo.lock_list(v_export_id, true);
    update klaviyo.run set removal_epoch = epoch where run_id = p_run_id;
    if klaviyo.list_is_claimed(p_run_id) or exists (
        select from klaviyo.sharers(v_export_id) as o (export_id)
        join klaviyo.run r on r.export_id = o.export_id
        where r.state = 'running' and r.removal_epoch is distinct from r.epoch) then
        return 'busy';
    end if;
    insert into klaviyo.list_claim (account_id, list_id, run_id)
    values (v_account, v_list, p_run_id)
    on conflict (account_id, list_id) do update set run_id = excluded.run_id;
    select exists (select from klaviyo.sharers(v_export_id)) into v_shared;
    return case when v_shared then 'shared' else 'alone' end;
end
$$;

-- The last word on a take: the functions that look for a run pass over those whose list is
-- claimed; here is the one that was claimed meanwhile.
create function klaviyo.run_respects_claims() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform klaviyo.lock_list(new.export_id, false);
    if klaviyo.list_is_claimed(new.run_id) then
        raise unique_violation using message = 'another run takes people off this list';
    end if;
    return new;
end
$$;
create trigger run_respects_claims before update of epoch on klaviyo.run
    for each row when (new.state = 'running' and new.epoch is distinct from old.epoch)
    execute function klaviyo.run_respects_claims();

-- -- which marks count -----------------------------------------------------------

-- Planning ended with this pass, whoever did it: a worker of the version before does not say so,
-- and marks of an earlier pass must not count.
create function klaviyo.run_is_planned() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.plan_epoch := new.epoch;
    return new;
end
$$;
create trigger run_is_planned before update of planned on klaviyo.run
    for each row when (new.planned and not old.planned)
    execute function klaviyo.run_is_planned();

-- -- a confirmation counts once ---------------------------------------------------

-- Of an event whose run took nobody off before it failed or was cancelled.
create table klaviyo.removal_confirmation (
    export_id bigint primary key references klaviyo.export on delete cascade,
    since     timestamptz not null default clock_timestamp()
);
alter table klaviyo.removal_confirmation enable row level security;
create policy everything on klaviyo.removal_confirmation
    to klaviyo_admin, klaviyo_worker using (true);

create function klaviyo.run_keeps_confirmation() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if new.state in ('succeeded', 'succeeded_with_rejections') then
        delete from klaviyo.removal_confirmation k
        where k.export_id = new.export_id and new.reason is distinct from 'removals_withheld';
    end if;
    if new.confirm_removals and new.removed_rows = 0
       and (new.state in ('failed', 'cancelled') or new.reason = 'removals_withheld') then
        insert into klaviyo.removal_confirmation (export_id)
        select x.export_id from klaviyo.export x
        where x.export_id = new.export_id and x.on_leave = 'remove'
        on conflict do nothing;
    end if;
    return null;
end
$$;
create trigger run_keeps_confirmation after update of finished_at on klaviyo.run
    for each row when (old.finished_at is null and new.finished_at is not null)
    execute function klaviyo.run_keeps_confirmation();

-- -- looking for a run to take --------------------------------------------------

-- As before, but runs whose list is claimed by another one wait.
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
          and not klaviyo.list_is_claimed(r.run_id)
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

create or replace function klaviyo.abandoned_run(p_key_pair integer) returns bigint
language plpgsql as $$
declare
    v_run_id bigint;
begin
    select r.run_id into v_run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    where r.state = 'running' and r.lease_until < clock_timestamp() and r.parked_until is null
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
      and not klaviyo.list_is_claimed(r.run_id)
    order by r.lease_until
    limit 1 for update of r skip locked;
    if v_run_id is null and exists (select from klaviyo.run r
                                    where r.parked_until < clock_timestamp()) then
        v_run_id := klaviyo.parked_run(p_key_pair);
    end if;
    return v_run_id;
end
$$;

create or replace function klaviyo.parked_run(p_key_pair integer) returns bigint
language sql as $$
    with open as (
        select r.run_id, r.export_id, r.state, r.parked_until,
               coalesce(c.account_id, c.connection_id::text) as account,
               coalesce(k.key_pair_id, p_key_pair) = p_key_pair
               or c.attention_reason is not null as usable
        from klaviyo.run r
        left join klaviyo.export x using (export_id)
        left join klaviyo.connection c using (connection_id)
        left join klaviyo.connection_key k using (connection_id)
        where r.state in ('queued', 'running')),
    served as (
        select o.account, count(*) filter (where o.state = 'running' and o.parked_until is null) as runs,
               coalesce(max(r.taken_at), '-infinity') as at
        from open o
        left join klaviyo.run r on r.export_id = o.export_id
                                   and r.taken_at > clock_timestamp() - interval '1 hour'
        group by o.account)
    select r.run_id from klaviyo.run r
    join open o using (run_id)
    left join served s on s.account = o.account
    where r.state = 'running' and r.parked_until < clock_timestamp() and o.usable
      and not exists (
          select from open q left join served t on t.account = q.account
          where q.state = 'queued' and q.usable and q.account <> o.account
            and not exists (select from klaviyo.run w
                            where w.export_id = q.export_id and w.state = 'running')
            and (t.runs, t.at) < (s.runs, s.at))
      and not klaviyo.list_is_claimed(r.run_id)
    order by r.parked_until
    limit 1 for update of r skip locked
$$;

create or replace function klaviyo.any_parked_run(p_key_pair integer) returns bigint
language sql as $$
    select r.run_id from klaviyo.run r
    left join klaviyo.export x using (export_id)
    left join klaviyo.connection c using (connection_id)
    left join klaviyo.connection_key k using (connection_id)
    where r.state = 'running' and r.parked_until < clock_timestamp()
      and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or c.attention_reason is not null)
      and not klaviyo.list_is_claimed(r.run_id)
    order by r.parked_until
    limit 1 for update of r skip locked
$$;

revoke execute on function
    klaviyo.sharers(bigint), klaviyo.is_held_elsewhere(bigint, text),
    klaviyo.lock_list(bigint, boolean), klaviyo.list_is_claimed(bigint),
    klaviyo.claim_list(bigint), klaviyo.run_respects_claims(), klaviyo.run_keeps_confirmation(),
    klaviyo.run_is_planned()
    from public;
