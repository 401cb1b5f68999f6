-- When a run will be through, as far as the database knows: for people who look.
alter table klaviyo.batch add ended_at timestamptz; -- of its job

create function klaviyo.batch_has_ended() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.ended_at := clock_timestamp();
    return new;
end
$$;
create trigger batch_has_ended before update of state on klaviyo.batch
    for each row when (old.state = 'sent' and new.state in ('complete', 'unresolved'))
    execute function klaviyo.batch_has_ended();

-- What the end of a run depends on beside itself, for who may see the run: how many
-- imports it has still to send and how many are at Klaviyo, how long one took of late, how
-- many imports other runs to the account send in the meantime, and the account's limit: the
-- part of it that is ours in percent, how much of it is used, and when a block ends.
-- Null: the run does not go on.
create function klaviyo.outlook(p_run_id bigint) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select json_build_object(
        'planned', own.planned, 'sent', own.sent, 'job_ms', own.job_ms,
        'others', (select coalesce(sum(least(o.planned, own.planned)), 0)
                   from (select count(*) as planned
                         from klaviyo.run l
                         join klaviyo.export e using (export_id)
                         join klaviyo.connection k using (connection_id)
                         join klaviyo.batch b on b.run_id = l.run_id and b.state = 'planned'
                         where l.state = 'running' and l.run_id <> p_run_id
                           and coalesce(k.account_id, 'connection:' || k.connection_id) = a.account
                         group by l.run_id) o),
        'percent', greatest(klaviyo.share_of(a.account)
                            * coalesce(klaviyo.pace_of(g, clock_timestamp()), 100) / 100, 1),
        'used', (select count(*) from klaviyo.rate_place p
                 where p.account = a.account and p.endpoint = 'import'
                   and p.steady_until > clock_timestamp()),
        'blocked_until', case when g.blocked_until > clock_timestamp()
                              then klaviyo.utc(g.blocked_until) end)
    from (select coalesce(c.account_id, 'connection:' || c.connection_id) as account
          from klaviyo.run r
          join klaviyo.export x using (export_id)
          join klaviyo.connection c using (connection_id)
          where r.run_id = p_run_id and r.state = 'running'
            and (klaviyo.may_see(r)
                 or pg_has_role(klaviyo.caller(), 'klaviyo_viewer', 'member')
                 or pg_has_role(klaviyo.caller(), 'klaviyo_worker', 'member'))) a
    cross join (select count(*) filter (where b.state = 'planned') as planned,
                       count(*) filter (where b.state = 'sent') as sent,
                       (select avg(extract(epoch from l.ended_at - l.posted_at) * 1000)::bigint
                        from (select d.ended_at, d.posted_at from klaviyo.batch d
                              where d.run_id = p_run_id and d.ended_at >= d.posted_at
                              order by d.ended_at desc limit 10) l) as job_ms
                from klaviyo.batch b where b.run_id = p_run_id) own
    left join klaviyo.rate_budget g on g.account = a.account and g.endpoint = 'import'
$$;
revoke execute on function klaviyo.batch_has_ended(), klaviyo.outlook(bigint) from public;
