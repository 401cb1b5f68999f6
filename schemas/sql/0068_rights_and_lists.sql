-- A migration that broke off is noticed, also after its last file; many exports cost no more than few.

-- When all rights were set for this version (rights.sql); null: not yet.
alter table klaviyo.migration add rights_at timestamptz;

-- The exports to one list: who else has an address there is asked for each address that left
-- (klaviyo.sharers). With 3,000 exports to other lists that took 4.1 s for 10,000 addresses, on the
-- connection that renews the lease; with this index 0.6 s.
create index on klaviyo.export (list_id);

-- -- a take among very many queued runs -----------------------------------------------------

-- As before, but only what its last run says; whether its account has something going on is worked
-- out once per take (klaviyo.queued_run).
create or replace function klaviyo.is_short(p_export_id bigint) returns boolean
language sql stable as $$
    select coalesce((select r.finished_at - r.started_at
                     from klaviyo.run r
                     where r.export_id = p_export_id
                       and r.state in ('succeeded', 'succeeded_with_rejections')
                       and not r.is_trial
                     order by r.run_id desc limit 1),
                    (select s.took from klaviyo.export_success s where s.export_id = p_export_id),
                    '0') < interval '1 minute'
$$;

-- As before, but what is the same for all queued runs is looked up once, and whether an export is
-- short only until one is found. p_short_only, for a worker's last free slot: short exports only and,
-- where several accounts have exports, of accounts that have nothing going on.
create or replace function klaviyo.queued_run(p_key_pair integer, p_short_only boolean)
returns bigint language plpgsql as $$
declare
    v record;
begin
    for v in
        with account as materialized (
            select c.connection_id, c.account_id, c.attention_reason,
                   coalesce(c.account_id, c.connection_id::text) as name
            from klaviyo.connection c
            where exists (select from klaviyo.export x where x.connection_id = c.connection_id)),
        busy as materialized (
            select a.name, count(*) as runs, count(*) filter (where r.parked_until is null) as unparked
            from klaviyo.run r
            join klaviyo.export x using (export_id)
            join account a using (connection_id)
            where r.state = 'running'
            group by 1),
        served as (
            select a.name, max(r.first_batch) as number
            from (select export_id, first_batch from klaviyo.run
                  where first_batch is not null order by first_batch desc limit 100) r
            join klaviyo.export x using (export_id)
            join account a using (connection_id)
            group by 1),
        claimed as materialized (
            select k.account_id, k.list_id
            from klaviyo.list_claim k
            join klaviyo.run h on h.run_id = k.run_id
            where h.state = 'running' and h.removal_epoch = h.epoch)
        select r.run_id, x.export_id
        from klaviyo.run r
        left join klaviyo.export x using (export_id)
        left join account a using (connection_id)
        left join klaviyo.connection_key k using (connection_id)
        left join busy b on b.name = a.name
        left join served s on s.name = a.name
        where r.state = 'queued'
          and (coalesce(k.key_pair_id, p_key_pair) = p_key_pair or a.attention_reason is not null)
          and not exists (select from klaviyo.run o
                          where o.export_id = r.export_id and o.state = 'running')
          and (not p_short_only or coalesce(b.unparked, 0) = 0
               or (select count(distinct name) from account) < 2)
          and not exists (select from claimed l
                          where l.list_id = x.list_id
                            and (l.account_id = a.account_id or a.account_id is null))
        order by coalesce(b.runs, 0), coalesce(s.number, 0), r.run_id
    loop
        continue when p_short_only and not klaviyo.is_short(v.export_id);
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
