-- Persons: what is remembered about one can be looked up and forgotten, and is
-- not kept for longer than it serves.

-- -- which run a batch was of ---------------------------------------------------

-- The ledger knows the batch with which an address was sent last. The batches of
-- an export's runs lie between the first one of each, so a run's first batch says
-- which run that was, and when; a run that retention deletes leaves it here. So
-- the ledger needs no byte for it.
create table klaviyo.past_run (
    export_id   bigint not null references klaviyo.export on delete cascade,
    first_batch bigint not null,
    run_id      bigint not null,
    ended_at    timestamptz not null,
    primary key (export_id, first_batch)
);
create index on klaviyo.run (export_id, first_batch) where first_batch is not null;

create function klaviyo.run_is_going() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into klaviyo.past_run (export_id, first_batch, run_id, ended_at)
    values (old.export_id, old.first_batch, old.run_id, old.finished_at)
    on conflict do nothing;
    return old;
end
$$;
create trigger run_is_going before delete on klaviyo.run
    for each row when (old.export_id is not null and old.first_batch is not null
                       and old.finished_at is not null
                       and (old.selected_rows > 0 or old.state <> 'succeeded'))
    execute function klaviyo.run_is_going();

alter table klaviyo.past_run enable row level security;
create policy everything on klaviyo.past_run to klaviyo_admin, klaviyo_worker using (true);

-- -- rejections -----------------------------------------------------------------

-- Its rejections still have addresses, and words that may quote some.
alter table klaviyo.run add names_people boolean not null default true;
create index on klaviyo.run (finished_at) where names_people and finished_at is not null;

-- Takes addresses and words out of the rejections of runs that ended so many days
-- ago: stage, code and profile id stay. p_limit rows and p_limit runs at most; true: there
-- may be more.
create function klaviyo.unname_rejections(p_days integer, p_limit integer) returns boolean
language plpgsql as $$
declare
    v_run_id bigint;
    v_rows integer;
begin
    for i in 1 .. p_limit loop
        select r.run_id into v_run_id from klaviyo.run r
        where r.names_people and r.finished_at < now() - p_days * interval '1 day'
        order by r.finished_at limit 1
        for no key update skip locked;
        if not found then
            return false;
        end if;
        update klaviyo.rejection set email = null, detail = null
        where ctid = any (array(select j.ctid from klaviyo.rejection j
                                where j.run_id = v_run_id
                                  and (j.email is not null or j.detail is not null)
                                limit p_limit));
        get diagnostics v_rows = row_count;
        if v_rows = p_limit then
            return true;
        end if;
        update klaviyo.run set names_people = false where run_id = v_run_id;
        p_limit := p_limit - v_rows;
    end loop;
    return true;
end
$$;

-- -- forgetting -------------------------------------------------------------------

alter table klaviyo.audit drop constraint audit_object_check,
    add constraint audit_object_check
    check (object in ('connection', 'export', 'key pair', 'run', 'member'));

-- Cuts the row of an address out of a batch that is not complete. Where Klaviyo
-- has a job of it already, the job is one that a later run waits for, and what is
-- left is sent again: rows of a job are known by their positions. False: it was not in it.
create function klaviyo.cut_from_batch(p_batch_id bigint, p_address text) returns boolean
language plpgsql as $$
declare
    b klaviyo.batch;
    v_objects text[];
    v_at integer;
begin
    select * into strict b from klaviyo.batch where batch_id = p_batch_id for update;
    v_objects := string_to_array(convert_from(b.body, 'UTF8'), E',\n');
    select u.n into v_at
    from unnest(v_objects) with ordinality as u(object, n)
    where case when position(p_address in u.object) > 0
               then u.object::jsonb #>> '{attributes,email}' = p_address end
    limit 1;
    if v_at is null then
        return false;
    end if;
    if b.state = 'sent' then
        perform klaviyo.keep_late_job(b.batch_id, b.job_id, false);
    end if;
    if cardinality(v_objects) = 1 then
        delete from klaviyo.batch where batch_id = b.batch_id;
        return true;
    end if;
    update klaviyo.batch
    set state = 'planned', job_id = null, sent_at = null, row_count = row_count - 1,
        posted_at = case when b.state = 'planned' then posted_at end, -- else it was answered
        profile_ids = profile_ids[: v_at - 1] || profile_ids[v_at + 1 :],
        body = convert_to(array_to_string(v_objects[: v_at - 1] || v_objects[v_at + 1 :], E',\n'),
                          'UTF8')
    where batch_id = b.batch_id;
    return true;
end
$$;

-- One address of one export. was_known: the ledger had it. A run that is going on and
-- has done with it counts as if it had never been a member: where it is through, here;
-- where it waits to be sent, the run is to be taken anew (retaken), as its owner knows how
-- many rows the batch had.
create function klaviyo.forget_in_export(p_export_id bigint, p_address text,
                                         out was_known boolean, out was_in_outbox boolean,
                                         out retaken bigint)
language plpgsql as $$
declare
    l klaviyo.ledger;
    v_run_id bigint;
    v_was_rejected boolean;
begin
    delete from klaviyo.ledger k
    where k.export_id = p_export_id and k.address = p_address collate "C"
    returning * into l;
    was_known := found;
    was_in_outbox := false;
    select r.run_id into v_run_id from klaviyo.run r
    where r.export_id = p_export_id and r.state = 'running' and r.first_batch <= l.batch_id;
    if v_run_id is null then
        return;
    end if;
    if exists (select from klaviyo.batch b
               where b.batch_id = l.batch_id and b.state in ('planned', 'sent')) then
        was_in_outbox := klaviyo.cut_from_batch(l.batch_id, p_address);
        retaken := v_run_id;
        return;
    end if;
    v_was_rejected := coalesce(l.rejected_batch = l.batch_id, false);
    update klaviyo.run r
    set read_rows = r.read_rows - r.planned::integer,
        selected_rows = r.selected_rows - r.planned::integer,
        accepted_rows = greatest(r.accepted_rows - (not v_was_rejected)::integer, 0),
        rejected_rows = greatest(r.rejected_rows - v_was_rejected::integer, 0)
    where r.run_id = v_run_id;
end
$$;

-- Forgets an address, as far as it is remembered here; where it was: one object
-- for each export; null: it is blank. What Klaviyo has of the person is not touched, nor what
-- upstream has: while it is a member the next run sends it again.
--
-- A run that is going on must not bring it back: one that is about to send it, or is
-- planning and may be about to plan it, is taken anew, with what upstream has now. Its
-- owner's fence does not hold any more, so what it still had in memory is not written.
create function klaviyo.forget_member(p_address text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_address text := klaviyo.address_of(p_address);
    v_exports jsonb := '[]';
    v_rejections jsonb;
    v_retake bigint[];
    v_jobs integer;
    v record;
    f record;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    if v_address is null then
        return null;
    end if;
    -- Whoever writes for a run holds it: nobody does from here on.
    perform from klaviyo.run r where r.state = 'running' order by r.run_id for update;
    v_retake := array(select r.run_id from klaviyo.run r
                      where r.state = 'running' and not r.planned);
    with gone as (delete from klaviyo.rejection j where j.email = v_address returning j.run_id),
         counted as (select r.export_id, count(*) as n from gone join klaviyo.run r using (run_id)
                     where r.export_id is not null group by r.export_id)
    select coalesce(jsonb_object_agg(c.export_id, c.n), '{}') into v_rejections from counted c;

    for v in select x.export_id, x.name from klaviyo.export x order by x.name loop
        select * into f from klaviyo.forget_in_export(v.export_id, v_address);
        update klaviyo.late_job set addresses = array_remove(addresses, v_address)
        where export_id = v.export_id and v_address = any (addresses);
        get diagnostics v_jobs = row_count;
        v_retake := v_retake || f.retaken;
        if f.was_known or v_jobs > 0 or v_rejections ? v.export_id::text then
            v_exports := v_exports || jsonb_build_object(
                'export', v.name, 'ledger', f.was_known, 'outbox', f.was_in_outbox,
                'rejections', coalesce(v_rejections -> v.export_id::text, '0'),
                'late_jobs', v_jobs);
        end if;
    end loop;
    -- Klaviyo's words about others, where they quote it.
    update klaviyo.rejection set detail = null where position(v_address in lower(detail)) > 0;
    -- What was found out for somebody who has not fetched it yet: whoever asked asks again.
    delete from klaviyo.task t where position(v_address in lower(to_jsonb(t)::text)) > 0;

    update klaviyo.run
    set epoch = epoch + 1, planned = false, lease_until = clock_timestamp(),
        lease_renewed_at = clock_timestamp(),
        takes_without_progress = greatest(takes_without_progress - 1, 0)
    where state = 'running' and run_id = any (v_retake);
    perform klaviyo.audit_write('forget', 'member', '(address not kept)',
                                jsonb_build_object('exports', v_exports));
    perform pg_notify('klaviyo_worker', 'queued');
    return jsonb_build_object('address', v_address, 'exports', v_exports,
                              'runs_taken_anew', (select count(distinct u) from unnest(v_retake) u));
end
$$;

revoke execute on function
    klaviyo.run_is_going(), klaviyo.unname_rejections(integer, integer),
    klaviyo.cut_from_batch(bigint, text), klaviyo.forget_in_export(bigint, text),
    klaviyo.forget_member(text)
    from public;
