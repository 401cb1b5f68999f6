-- What the workers write: requests (events), runs, the ledger, the outbox.

-- One event. Its identity is that of its record; a topic made anew starts at
-- offset 0 again, so the record's timestamp belongs to it.
create table klaviyo.request (
    request_id       bigint generated always as identity primary key,
    topic            text not null,
    partition        integer not null,
    record_offset    bigint not null,
    record_ms        bigint not null,
    source           text, -- ce_source and ce_id; null: a plain event
    event_id         text,
    segment_id       text, -- null: the event was invalid
    refresh_id       text,
    refreshed_at     timestamptz,
    trigger          text,
    export_name      text,
    full_refresh     boolean not null default false,
    confirm_removals boolean not null default false,
    traceparent      text,
    state            text not null default 'open'
                     check (state in ('open', 'done', 'dead_letter_due', 'dead_lettered')),
    reason           text,
    detail           text,
    failed_run       bigint,
    failed_exports   text[],
    received_at      timestamptz not null default now(),
    ended_at         timestamptz,
    unique (topic, partition, record_offset, record_ms)
);
create index on klaviyo.request (source, event_id) where source is not null;
create index on klaviyo.request (ended_at) where ended_at is not null;

-- One pass of one export. epoch fences: who writes for a run names the epoch
-- under which it took it, and a run taken by another has a higher one. The key
-- (run_id, epoch) makes a change of epoch conflict with FOR KEY SHARE.
create table klaviyo.run (
    run_id                 bigint generated always as identity primary key,
    epoch                  integer not null default 0,
    export_id              bigint references klaviyo.export on delete set null,
    export_name            text not null,
    connection_name        text not null,
    trigger                text not null,
    full_refresh           boolean not null default false,
    confirm_removals       boolean not null default false,
    state                  text not null default 'queued'
                           check (state in ('queued', 'running', 'succeeded',
                                            'succeeded_with_rejections', 'failed', 'cancelled')),
    reason                 text,
    detail                 text,
    queued_at              timestamptz not null default clock_timestamp(),
    started_at             timestamptz,
    finished_at            timestamptz,
    waiting_until          timestamptz,
    worker                 text,
    lease_until            timestamptz,
    backends               integer[] not null default '{}', -- server processes of the owner
    server_started         timestamptz, -- since when their numbers mean them
    cancelled_by           text,
    first_batch            bigint,
    planned                boolean not null default false,
    idle_ms                bigint not null default 0, -- owned time without progress
    takes_without_progress integer not null default 0,
    read_rows              bigint not null default 0,
    invalid_rows           bigint not null default 0,
    duplicate_rows         bigint not null default 0,
    unchanged_rows         bigint not null default 0,
    selected_rows          bigint not null default 0,
    accepted_rows          bigint not null default 0,
    rejected_rows          bigint not null default 0,
    left_rows              bigint not null default 0,
    removed_rows           bigint not null default 0,
    kept_rows              bigint not null default 0,
    requests               bigint not null default 0,
    throttled              bigint not null default 0,
    retries                bigint not null default 0,
    unique (run_id, epoch)
);
create unique index run_one_queued on klaviyo.run (export_id) where state = 'queued';
create unique index run_one_running on klaviyo.run (export_id) where state = 'running';
create index on klaviyo.run (queued_at) where state in ('queued', 'running');
create index on klaviyo.run (finished_at) where finished_at is not null;
create index on klaviyo.run (export_id, run_id);

-- Which runs answer an event.
create table klaviyo.request_run (
    request_id bigint not null references klaviyo.request on delete cascade,
    run_id     bigint not null references klaviyo.run on delete cascade,
    primary key (request_id, run_id)
);
create index on klaviyo.request_run (run_id);

-- The outbox. A batch is the rows of one import request; its body is the
-- profile objects as sent, joined by a comma and a line feed.
--   planned     to be sent
--   sent        Klaviyo made an import job of it
--   complete    the job ended, every row's fate is known
--   unresolved  the job ended with errors that name nobody: over for its run
create sequence klaviyo.batch_id;
create table klaviyo.batch (
    batch_id    bigint primary key default nextval('klaviyo.batch_id'),
    export_id   bigint not null references klaviyo.export on delete cascade,
    run_id      bigint not null,
    state       text not null default 'planned'
                check (state in ('planned', 'sent', 'complete', 'unresolved')),
    row_count   integer not null,
    job_id      text check (job_id <> ''),
    sent_at     timestamptz,
    profile_ids text[], -- in the order of the rows; null once confirmed
    body        bytea   -- null once confirmed
);
create index on klaviyo.batch (run_id, batch_id);
-- The default compression would take longer than the whole planning.
do $$
begin
    alter table klaviyo.batch alter column body set compression lz4;
exception when feature_not_supported then
    alter table klaviyo.batch alter column body set storage external;
end
$$;
create index on klaviyo.batch (export_id) where state <> 'complete';

-- The memory: what this export sent for each address. A row is confirmed when
-- its batch is complete; complete batch rows are deleted when their run ends,
-- so one that is gone counts as complete.
create table klaviyo.ledger (
    export_id      bigint not null,
    address        text collate "C" not null,
    fingerprint    bigint not null, -- of the row as sent
    batch_id       bigint not null,
    rejected_batch bigint,          -- the batch in which Klaviyo refused the row last
    listed         boolean not null default false, -- an earlier batch was confirmed
    primary key (export_id, address)
);

-- Rows that were not delivered, and in whose words.
create table klaviyo.rejection (
    run_id     bigint not null references klaviyo.run on delete cascade,
    epoch      integer not null, -- local ones of an earlier pass are replaced
    stage      text not null check (stage in ('local', 'request', 'import')),
    email      text,
    profile_id text,
    code       text not null,
    detail     text
);
create index on klaviyo.rejection (run_id);
