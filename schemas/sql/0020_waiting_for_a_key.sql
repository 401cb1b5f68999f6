-- A queued run that waits for a worker with another key file says so.
alter table klaviyo.run drop constraint run_wait_reason_check,
    add constraint run_wait_reason_check
    check (wait_reason in ('rate_limited', 'klaviyo_unavailable', 'database_unavailable',
                           'key_unreadable')) not valid;

-- As before, but that reason and detail of a queued run are what it waits for.
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
            'removed', r.removed_rows, 'kept', r.kept_rows, 'requests', r.requests,
            'throttled', r.throttled, 'retries', r.retries),
        'requests', r.requests, 'throttled', r.throttled, 'retries', r.retries)
$$;
