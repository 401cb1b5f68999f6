-- What is remembered so that a list can follow its segment. A worker of the version before writes
-- none of it, and everything here has a meaning where it is missing.

-- profile_id: whom the address was sent for last; null: it was sent before this was remembered.
-- left_run, left_epoch: the pass over the members that found nobody with this address; it counts
-- only if it is the pass with which that run's planning ended. Null for all who did not leave.
-- filled: which fields ever had a value as sent, a bit for each (worker/export/mapping.h); null: not
-- known. removing: a removal of it was begun, so that it is on the list no more, or may be.
alter table klaviyo.ledger
    add profile_id text,
    add left_run bigint,
    add left_epoch integer,
    add filled bigint,
    add removing boolean not null default false;

-- Whether the import names the list, or only brings the profiles up to date.
alter table klaviyo.batch add with_list boolean not null default true;

-- plan_epoch: the pass with which planning ended. there_rows: addresses of which this export
-- knows that it put them on the list, those that left among them.
alter table klaviyo.run
    add plan_epoch integer,
    add there_rows bigint not null default 0,
    add address_changes bigint not null default 0,
    add not_cleared_rows bigint not null default 0;

-- As before, and the parts name the list where the whole did. Turns a batch into others: part[i] says in which new batch row i goes on,
-- 0 that it was refused. Its ledger rows are pointed at the new batches. One
-- function for stripping refused rows, for halving, for taking out one row.
create or replace function klaviyo.split_batch(p_run_id bigint, p_epoch integer, p_batch_id bigint,
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
        insert into klaviyo.batch (export_id, run_id, row_count, profile_ids, body, with_list)
        select v_old.export_id, p_run_id, count(*), array_agg(v_old.profile_ids[n] order by n),
               klaviyo.part_of_body(v_body, i, p_parts, p_offsets, p_lengths),
               v_old.with_list
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

-- How many more addresses than people this export remembers: who has a new address is there
-- under both until the old one is off the list, and is billed twice at Klaviyo until it is suppressed.
create function klaviyo.address_changes(p_export_id bigint) returns bigint
language sql stable as $$
    select coalesce(sum(s.addresses - 1), 0)::bigint
    from (select count(*) as addresses from klaviyo.ledger l
          where l.export_id = p_export_id and l.profile_id is not null
          group by l.profile_id having count(*) > 1) s
$$;

-- As before, with what a list that follows its segment counts.
create or replace function klaviyo.run_json(r klaviyo.run) returns json
language sql stable as $$
    select json_build_object(
        'id', r.run_id, 'export', r.export_name, 'connection', r.connection_name,
        'trigger', r.trigger, 'full', r.full_refresh, 'state', klaviyo.shown_state(r),
        'reason', case when r.state in ('queued', 'running') then r.wait_reason else r.reason end,
        'detail', case when r.state in ('queued', 'running') then r.wait_detail else r.detail end,
        'queued_at', klaviyo.utc(r.queued_at),
        'started_at', klaviyo.utc(r.started_at), 'finished_at', klaviyo.utc(r.finished_at),
        'waiting_until', case when r.state = 'running' and r.waiting_until > clock_timestamp()
                              then klaviyo.utc(r.waiting_until) end,
        'worker', r.worker,
        'events', (select count(*) from klaviyo.request_run a where a.run_id = r.run_id),
        'counts', json_build_object(
            'read', r.read_rows, 'invalid', r.invalid_rows, 'duplicate', r.duplicate_rows,
            'unchanged', r.unchanged_rows, 'selected', r.selected_rows,
            'accepted', r.accepted_rows, 'rejected', r.rejected_rows, 'left', r.left_rows,
            'removed', r.removed_rows, 'kept', r.kept_rows,
            'address_changes', r.address_changes, 'not_cleared', r.not_cleared_rows, 'requests', r.requests,
            'throttled', r.throttled, 'retries', r.retries),
        'requests', r.requests, 'throttled', r.throttled, 'retries', r.retries)
$$;

revoke execute on function klaviyo.address_changes(bigint) from public;
