-- A run's number and its epoch come again where the database is set back to a
-- copy; behind a pooler a worker may not even notice. So each take of a run gets
-- an id that never comes again, and that is what its owner writes with.
alter table klaviyo.run
    add take_id uuid,      -- of the owner; another at each take, and at the end
    add last_take_id uuid; -- of the owner before: who it was when the run has ended

-- As before, and the take gets its id. Workers of the version before take runs
-- by the same update.
create or replace function klaviyo.run_changes_hands() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.state = 'running' and old.state = 'running' and old.parked_until is not null then
        new.planned := old.planned;
        new.takes_without_progress := old.takes_without_progress;
    else
        new.wait_reason := null;
        new.wait_detail := null;
        new.wait_since := null;
        new.attempts := 0;
    end if;
    new.parked_until := null;
    new.taken_at := clock_timestamp();
    new.last_take_id := old.take_id;
    new.take_id := gen_random_uuid();
    return new;
end
$$;

-- take_run(), and the id of the take.
create function klaviyo.take_run_by_id(p_worker text, p_lease_ms bigint, p_key_pair integer,
                                       p_recover boolean, p_short_only boolean)
returns table (run_id bigint, take_id uuid, epoch integer, export_id bigint, taken_over boolean,
               closed boolean)
language plpgsql as $$
declare
    t record;
begin
    select * into t
    from klaviyo.take_run(p_worker, p_lease_ms, p_key_pair, p_recover, p_short_only);
    if t.run_id is null then
        return;
    end if;
    -- A statement of its own: it sees what the take wrote.
    return query
    select r.run_id, r.take_id, r.epoch, t.export_id, t.taken_over, t.closed
    from klaviyo.run r where r.run_id = t.run_id;
end
$$;

-- The epoch of a run that is owned by that take, and remains so for as long as
-- the transaction lasts; null: it is not.
create function klaviyo.owned_epoch(p_run_id bigint, p_take_id uuid) returns integer
language sql as $$
    select r.epoch from klaviyo.run r
    where r.run_id = p_run_id and r.take_id = p_take_id and r.state = 'running' for key share
$$;

-- The functions that write for a run, by its take.
create function klaviyo.end_run(p_run_id bigint, p_take_id uuid, p_state text, p_reason text,
                                p_detail text)
returns text language plpgsql as $$
declare
    v_epoch integer;
begin
    -- The lock that the end needs, at once: a weaker one first could end in a circle.
    select r.epoch into v_epoch from klaviyo.run r
    where r.run_id = p_run_id and r.take_id = p_take_id for update;
    return klaviyo.end_run(p_run_id, v_epoch, p_state, p_reason, p_detail);
end
$$;

create function klaviyo.split_batch(p_run_id bigint, p_take_id uuid, p_batch_id bigint,
                                    p_addresses text[], p_parts integer[],
                                    p_offsets integer[], p_lengths integer[],
                                    p_codes text[], p_details text[])
returns boolean language sql as $$
    select klaviyo.split_batch(p_run_id, klaviyo.owned_epoch(p_run_id, p_take_id), p_batch_id,
                               p_addresses, p_parts, p_offsets, p_lengths, p_codes, p_details)
$$;

create function klaviyo.settle_late_job(p_run_id bigint, p_take_id uuid, p_late_job_id bigint)
returns boolean language sql as $$
    select klaviyo.settle_late_job(p_run_id, klaviyo.owned_epoch(p_run_id, p_take_id),
                                   p_late_job_id)
$$;

create function klaviyo.late_jobs(p_run_id bigint, p_take_id uuid, p_unknown_ms bigint)
returns table (late_job_id bigint, job_id text, given_up boolean)
language plpgsql as $$
declare
    v_epoch integer := klaviyo.owned_epoch(p_run_id, p_take_id);
begin
    if v_epoch is not null then
        return query select * from klaviyo.late_jobs(p_run_id, v_epoch, p_unknown_ms);
    end if;
end
$$;

revoke execute on function
    klaviyo.take_run_by_id(text, bigint, integer, boolean, boolean),
    klaviyo.owned_epoch(bigint, uuid), klaviyo.end_run(bigint, uuid, text, text, text),
    klaviyo.split_batch(bigint, uuid, bigint, text[], integer[], integer[], integer[], text[],
                        text[]),
    klaviyo.settle_late_job(bigint, uuid, bigint), klaviyo.late_jobs(bigint, uuid, bigint)
    from public;
