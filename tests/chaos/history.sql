-- What happened to the rows of the schema klaviyo, written by triggers in the
-- transaction that did it. Numbers of changes tell the order in which a row was
-- changed: who changes it next waits for the commit of who did before. When a
-- change was committed says pg_xact_commit_timestamp().
create schema history;

create sequence history.change;
create domain history.number as bigint default nextval('history.change') not null;

-- Who took the run of an export last, as it stands in the transaction that asks.
create table history.taker (run_id bigint primary key, application text not null);

create function history.application() returns text language sql stable as
$$ select current_setting('application_name') $$;

create table history.run (
    n history.number, at timestamptz default clock_timestamp(), xid xid8 default pg_current_xact_id(),
    application text default history.application(),
    run_id bigint, trigger text, old_state text, state text, old_epoch integer, epoch integer, old_take uuid, take_id uuid,
    free_from timestamptz, -- from when anybody may take it: its lease, or its wait, is over
    accepted bigint, rejected bigint, taker text, taken boolean);

create function history.note_run() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_taken boolean := new.state = 'running' and (tg_op = 'INSERT' or old.epoch <> new.epoch);
    v_taker text := (select t.application from history.taker t where t.run_id = new.run_id);
begin
    insert into history.run (run_id, trigger, old_state, state, old_epoch, epoch, old_take, take_id, free_from,
                             accepted, rejected, taker, taken)
    values (new.run_id, new.trigger, case when tg_op = 'UPDATE' then old.state end, new.state,
            case when tg_op = 'UPDATE' then old.epoch end, new.epoch,
            case when tg_op = 'UPDATE' then old.take_id end, new.take_id,
            case when tg_op = 'UPDATE' then coalesce(old.parked_until, old.lease_until) end,
            new.accepted_rows, new.rejected_rows, v_taker, v_taken);
    if v_taken then
        insert into history.taker values (new.run_id, history.application())
        on conflict (run_id) do update set application = excluded.application;
    end if;
    return null;
end
$$;
create trigger zz_history after insert or update on klaviyo.run
    for each row execute function history.note_run();

create table history.request (
    n history.number, xid xid8 default pg_current_xact_id(),
    op text, request_id bigint, partition integer, record_offset bigint, old_state text, state text);

create function history.note_request() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.request := coalesce(new, old);
begin
    if tg_op <> 'UPDATE' or old.state <> new.state then
        insert into history.request (op, request_id, partition, record_offset, old_state, state)
        values (tg_op, v.request_id, v.partition, v.record_offset, case when tg_op <> 'INSERT' then old.state end,
                case when tg_op <> 'DELETE' then new.state end);
    end if;
    return null;
end
$$;
create trigger zz_history after insert or update or delete on klaviyo.request
    for each row execute function history.note_request();

-- The run as its writer sees it: it holds the row, so nobody else can have changed it since.
create table history.batch (
    n history.number, xid xid8 default pg_current_xact_id(), application text default history.application(),
    op text, batch_id bigint, run_id bigint, row_count integer, old_state text, state text, posted boolean,
    run_state text, taker text);

create function history.note_batch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v klaviyo.batch := coalesce(new, old);
begin
    insert into history.batch (op, batch_id, run_id, row_count, old_state, state, posted, run_state, taker)
    values (tg_op, v.batch_id, v.run_id, v.row_count, case when tg_op <> 'INSERT' then old.state end,
            case when tg_op <> 'DELETE' then new.state end, v.posted_at is not null,
            (select r.state from klaviyo.run r where r.run_id = v.run_id),
            (select t.application from history.taker t where t.run_id = v.run_id));
    return null;
end
$$;
create trigger zz_history after insert or update or delete on klaviyo.batch
    for each row execute function history.note_batch();

-- Rows of the ledger that one statement treated alike.
create table history.ledger (
    n history.number, xid xid8 default pg_current_xact_id(), application text default history.application(),
    op text, export_id bigint, old_batch bigint, batch_id bigint, became_listed boolean, began_removing boolean,
    was_listed boolean, was_removing boolean, left_run bigint, left_epoch integer, rows bigint,
    back boolean, -- whom a late job may have put on the list again, after the ledger had forgotten him
    run_id bigint, plan_epoch integer, taker text);

create function history.note_ledger() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        insert into history.ledger (op, export_id, batch_id, became_listed, rows, back)
        select tg_op, export_id, batch_id, listed, count(*), removing
        from new_rows group by export_id, batch_id, listed, removing;
    elsif tg_op = 'DELETE' then
        insert into history.ledger (op, export_id, old_batch, was_listed, was_removing, left_run, left_epoch, rows)
        select tg_op, export_id, batch_id, listed, removing, left_run, left_epoch, count(*)
        from old_rows group by export_id, batch_id, listed, removing, left_run, left_epoch;
    else
        insert into history.ledger (op, export_id, old_batch, batch_id, became_listed, began_removing, left_run,
                                    left_epoch, rows)
        select tg_op, export_id, o.batch_id, n.batch_id, n.listed and not o.listed, n.removing and not o.removing,
               n.left_run, n.left_epoch, count(*)
        from new_rows n join old_rows o using (export_id, address)
        group by export_id, o.batch_id, n.batch_id, 5, 6, n.left_run, n.left_epoch;
    end if;
    update history.ledger l set run_id = r.run_id, plan_epoch = r.plan_epoch, taker = t.application
    from klaviyo.run r left join history.taker t using (run_id)
    where l.xid = pg_current_xact_id() and l.run_id is null and r.export_id = l.export_id and r.state = 'running';
    return null;
end
$$;
create index on history.ledger (xid);
create trigger zz_history_insert after insert on klaviyo.ledger referencing new table as new_rows
    for each statement execute function history.note_ledger();
create trigger zz_history_update after update on klaviyo.ledger referencing old table as old_rows new table as new_rows
    for each statement execute function history.note_ledger();
create trigger zz_history_delete after delete on klaviyo.ledger referencing old table as old_rows
    for each statement execute function history.note_ledger();

create table history.outcome (
    n history.number, xid xid8 default pg_current_xact_id(), run_id bigint, epoch integer);

create function history.note_outcome() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into history.outcome (run_id, epoch) values (new.run_id, new.epoch);
    return null;
end
$$;
create trigger zz_history after insert on klaviyo.outcome
    for each row execute function history.note_outcome();

create table history.task (
    n history.number, op text, task_id bigint, old_state text, state text, old_token integer, token integer,
    free_from timestamptz, at timestamptz default clock_timestamp());

create function history.note_task() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into history.task (op, task_id, old_state, state, old_token, token, free_from)
    values (tg_op, new.task_id, case when tg_op = 'UPDATE' then old.state end, new.state,
            case when tg_op = 'UPDATE' then old.token end, new.token,
            case when tg_op = 'UPDATE' then old.lease_until end);
    return null;
end
$$;
create trigger zz_history after insert or update on klaviyo.task
    for each row execute function history.note_task();
