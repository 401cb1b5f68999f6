-- Who has which right: all of it, in one place. `migrate` applies this file
-- each time, after the numbered ones, so that a database that was restored
-- without owners or privileges gets them again. It only gives what is missing
-- and takes nothing from a worker of the version before.
--
--   klaviyo_admin        sees and changes everything but no stored key
--   klaviyo_contributor  makes, changes and removes exports on the connections
--                        granted to it, of which it sees name, kind and state
--   klaviyo_viewer       reads runs
--   klaviyo_worker       reads what is set up, writes runs
-- and two that nobody is a member of but the owner of the schema:
--   klaviyo_definer      owns the functions that people change things with
--   klaviyo_source       owns the functions that read the site's view
--
-- People have select, and execute on functions; nothing else. Insert, update or
-- delete on a table, or update on one of its columns, is the right to lock it
-- or its rows against the workers.

-- Functions are everybody's until it is said otherwise.
revoke execute on all functions in schema klaviyo from public;
revoke all on all tables in schema klaviyo from public;

-- What an earlier version gave to people, on columns too.
revoke insert, update, delete, truncate on all tables in schema klaviyo
    from klaviyo_admin, klaviyo_contributor, klaviyo_viewer;
revoke execute on function klaviyo.may_use(bigint, name)
    from klaviyo_admin, klaviyo_contributor, klaviyo_viewer;
revoke execute on function klaviyo.pause_unusable(text, text),
                           klaviyo.need_attention(bigint, text)
    from klaviyo_admin;

grant usage on schema klaviyo
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker, klaviyo_definer,
       klaviyo_source;

-- -- all four ----------------------------------------------------------------

grant select on klaviyo.migration, klaviyo.key_pair
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;
grant execute on function klaviyo.utc(timestamptz), klaviyo.is_admin(name), klaviyo.caller(),
                          klaviyo.may_use(bigint), klaviyo.usable_connections(),
                          klaviyo.shown_state(klaviyo.run),
                          klaviyo.run_json(klaviyo.run), klaviyo.path_text(text[]),
                          klaviyo.expected_every_s(bigint, boolean, text),
                          klaviyo.is_stale(bigint, timestamptz), klaviyo.duration_text(bigint),
                          klaviyo.outlook(bigint), klaviyo.outlooks(bigint[]),
                          klaviyo.list_wait(bigint)
    to klaviyo_admin, klaviyo_contributor, klaviyo_viewer, klaviyo_worker;

-- -- the worker: all of runs; of what is set up, what Klaviyo's answers change --

grant execute on all functions in schema klaviyo to klaviyo_worker;
revoke execute on function
    klaviyo.look_at_source(text[], text[], jsonb), klaviyo.look_at_names(text[]),
    klaviyo.look_at_export(text),
    klaviyo.look_at_draft(text, jsonb),
    klaviyo.audit_write(text, text, text, jsonb), klaviyo.add_key_pair(bytea, boolean),
    klaviyo.add_connection(text, integer, text, text, integer, bytea),
    klaviyo.replace_key(text, text, text, integer, bytea), klaviyo.remove_connection(text),
    klaviyo.grant_connection(text, text), klaviyo.revoke_connection(text, text),
    klaviyo.pause_unusable(text, text), klaviyo.add_export(text, jsonb),
    klaviyo.change_export(text, jsonb), klaviyo.pause_export(text), klaviyo.resume_export(text),
    klaviyo.remove_export(text), klaviyo.expect_export(text, bigint),
    klaviyo.cancel_run(bigint), klaviyo.follow_event(text, text),
    klaviyo.change_connection(text, integer),
    klaviyo.stop_runs(bigint, text), klaviyo.lock_export(bigint, text), klaviyo.hand_over(bigint),
    klaviyo.unconfirm(bigint, text[]),
    klaviyo.forget_member(text), klaviyo.show_member(text),
    klaviyo.look_for_member(klaviyo.export, text), klaviyo.look_for_address(text[], text[], text),
    klaviyo.add_task(text, text, jsonb), klaviyo.look_at_task(bigint), klaviyo.drop_task(bigint),
    klaviyo.look_at_segments(), klaviyo.look_at_segment_names(), klaviyo.look_at_fields(text),
    klaviyo.looked_at_source(text, text), klaviyo.list_segments(), klaviyo.segment_names(),
    klaviyo.segment_fields(text)
    from klaviyo_worker;
grant usage on sequence klaviyo.batch_id to klaviyo_worker;
grant select on sequence klaviyo.forgetting to klaviyo_worker;
grant select, insert, update, delete
    on klaviyo.request, klaviyo.run, klaviyo.request_run, klaviyo.batch, klaviyo.ledger,
       klaviyo.rejection, klaviyo.rate_budget, klaviyo.rate_place, klaviyo.late_job,
       klaviyo.task, klaviyo.task_worker, klaviyo.outcome, klaviyo.list_claim,
       klaviyo.removal_confirmation, klaviyo.account_plan, klaviyo.run_timeline
    to klaviyo_worker;
grant select on klaviyo.past_run to klaviyo_worker;
grant select on klaviyo.connection, klaviyo.connection_key, klaviyo.connection_grant,
                klaviyo.export, klaviyo.export_segment, klaviyo.export_field
    to klaviyo_worker;
grant update (account_id, account_name, verified_at, attention_reason, attention_at, scopes)
    on klaviyo.connection to klaviyo_worker;
grant update (list_name, list_checked_at) on klaviyo.export to klaviyo_worker;

-- -- people --------------------------------------------------------------------

grant select on klaviyo.connection, klaviyo.connection_grant, klaviyo.export_segment,
                klaviyo.export_field, klaviyo.run, klaviyo.request, klaviyo.request_run,
                klaviyo.batch, klaviyo.ledger, klaviyo.rejection, klaviyo.rate_budget,
                klaviyo.rate_place, klaviyo.late_job, klaviyo.past_run, klaviyo.outcome,
                klaviyo.list_claim, klaviyo.removal_confirmation, klaviyo.account_plan,
                klaviyo.run_timeline, klaviyo.audit
    to klaviyo_admin;
grant select (connection_id, key_pair_id, changed_at, changed_by)
    on klaviyo.connection_key to klaviyo_admin;
grant execute on function
    klaviyo.add_key_pair(bytea, boolean),
    klaviyo.add_connection(text, integer, text, text, integer, bytea),
    klaviyo.replace_key(text, text, text, integer, bytea), klaviyo.remove_connection(text),
    klaviyo.change_connection(text, integer), klaviyo.pace_of(klaviyo.rate_budget, timestamptz),
    klaviyo.slow_time(),
    klaviyo.grant_connection(text, text), klaviyo.revoke_connection(text, text),
    klaviyo.granted_role(klaviyo.connection_grant), klaviyo.this_server(),
    klaviyo.take_place(text, text, integer, integer, bigint), klaviyo.return_place(bigint),
    klaviyo.move_place(bigint, text), klaviyo.block_account(text, text, bigint),
    klaviyo.forget_member(text)
    to klaviyo_admin;

grant select (connection_id, name, kind) on klaviyo.connection to klaviyo_contributor;
grant select on klaviyo.export_segment, klaviyo.export_field, klaviyo.run, klaviyo.request_run,
                klaviyo.rejection
    to klaviyo_contributor;

-- The key of the fingerprints is the workers'.
grant select (export_id, name, connection_id, list_id, list_name, list_checked_at, email_path,
              max_profiles, on_leave, max_invalid, size_guard, plan, flows_known, paused, pause_reason, created_by, created_at, changed_at,
              expect_every_s)
    on klaviyo.export to klaviyo_admin, klaviyo_contributor;
grant select on klaviyo.export_success to klaviyo_admin, klaviyo_contributor, klaviyo_worker;
grant execute on function klaviyo.expect_export(text, bigint) to klaviyo_admin, klaviyo_contributor;
grant execute on function
    klaviyo.connection_state(bigint), klaviyo.add_export(text, jsonb),
    klaviyo.change_export(text, jsonb), klaviyo.pause_export(text), klaviyo.resume_export(text),
    klaviyo.remove_export(text), klaviyo.look_at_export(text),
    klaviyo.look_at_draft(text, jsonb), klaviyo.cancel_run(bigint),
    klaviyo.follow_event(text, text), klaviyo.add_task(text, text, jsonb),
    klaviyo.list_segments(), klaviyo.segment_names(), klaviyo.segment_fields(text),
    klaviyo.look_at_task(bigint), klaviyo.drop_task(bigint), klaviyo.is_task_served(text),
    klaviyo.show_member(text)
    to klaviyo_admin, klaviyo_contributor;
grant select on klaviyo.task to klaviyo_admin, klaviyo_contributor; -- their own

-- Its rows and addresses are those that the caller may see.
grant select on klaviyo.delivered to klaviyo_admin, klaviyo_contributor, klaviyo_viewer;

-- Runs, and how many events each answers; no rejections, which hold addresses.
grant select on klaviyo.run, klaviyo.request_run to klaviyo_viewer;

-- -- the owners of functions ---------------------------------------------------

grant select, insert, update, delete on all tables in schema klaviyo to klaviyo_definer;
revoke all on klaviyo.migration from klaviyo_definer;
revoke select, update, delete on klaviyo.audit from klaviyo_definer;
revoke delete on klaviyo.key_pair from klaviyo_definer; -- update: the right to lock it
grant usage on all sequences in schema klaviyo to klaviyo_definer;
grant execute on all functions in schema klaviyo to klaviyo_definer;

grant execute on function klaviyo.members_of(text[], bigint), klaviyo.address_of(text),
                          klaviyo.is_address(text), klaviyo.path_text(text[]),
                          klaviyo.is_field_name(text), klaviyo.is_printable(text)
    to klaviyo_source;

-- Only members of the schema's owner can give a function away, and only to a
-- role that may make some.
grant create on schema klaviyo to klaviyo_definer, klaviyo_source;
do $$
declare
    v record;
begin
    for v in
        select p.oid::regprocedure as function,
               o.name as owner
        from pg_proc p join pg_roles r on r.oid = p.proowner,
             lateral (select case when p.proname in ('look_at_source', 'look_at_names', 'look_for_address',
                                                    'look_at_segments', 'look_at_segment_names', 'look_at_fields')
                                  then 'klaviyo_source' else 'klaviyo_definer' end) as o(name)
        where p.pronamespace = 'klaviyo'::regnamespace and p.prosecdef and r.rolname <> o.name
    loop
        execute format('alter function %s owner to %I', v.function, v.owner);
    end loop;
    -- Views read tables with their owner's rights.
    for v in
        select c.oid::regclass as name from pg_class c join pg_roles r on r.oid = c.relowner
        where c.relnamespace = 'klaviyo'::regnamespace and c.relkind = 'v'
          and r.rolname <> 'klaviyo_definer'
    loop
        execute format('alter view %s owner to klaviyo_definer', v.name);
    end loop;
end
$$;
revoke create on schema klaviyo from klaviyo_definer, klaviyo_source;

-- Every table has row level security; administrators, workers and the functions
-- have all rows of those that the grants above let them touch.
do $$
declare
    v record;
begin
    for v in
        select c.oid::regclass as name, c.oid, c.relrowsecurity from pg_class c
        where c.relnamespace = 'klaviyo'::regnamespace and c.relkind in ('r', 'p')
          and c.relname <> 'migration'
    loop
        if not v.relrowsecurity then
            execute format('alter table %s enable row level security', v.name);
        end if;
        if not exists (select from pg_policy p where p.polrelid = v.oid and p.polname = 'functions') then
            execute format('create policy functions on %s to klaviyo_definer using (true)', v.name);
        end if;
    end loop;
end
$$;

-- -- what the site has ---------------------------------------------------------

-- Where the relations are somebody else's, that somebody grants; `migrate` and
-- `check` say which grants are missing.
do $$
begin
    grant usage on schema insights to klaviyo_worker, klaviyo_source;
exception when insufficient_privilege then
    null;
end
$$;
do $$
declare
    v record;
begin
    for v in
        select c.oid::regclass as name, c.relname from pg_class c
        where c.relnamespace = 'insights'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
    loop
        begin
            execute format('grant select on %s to klaviyo_worker', v.name);
            if v.relname in ('segment', 'segment_profile') then
                execute format('grant select on %s to klaviyo_source', v.name);
            end if;
        exception when insufficient_privilege then
            null;
        end;
    end loop;
end
$$;

select klaviyo.tidy_grants();
