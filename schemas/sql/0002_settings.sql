-- What people set up: key pairs, connections, exports.

-- Public halves of the pairs that seal API keys; the newest one seals.
create table klaviyo.key_pair (
    key_pair_id integer generated always as identity primary key,
    public_key  bytea not null unique check (length(public_key) = 32),
    created_at  timestamptz not null default now(),
    created_by  text not null default session_user
);

create table klaviyo.connection (
    connection_id    bigint generated always as identity primary key,
    name             text not null unique check (length(name) between 1 and 200),
    kind             text not null default 'klaviyo' check (kind = 'klaviyo'),
    -- Who agreed to the transfer of personal data, when, and to which wording.
    consent_by       text not null,
    consent_at       timestamptz not null default now(),
    consent_version  integer not null,
    -- The Klaviyo account behind the key, once Klaviyo was asked.
    account_id       text,
    account_name     text,
    verified_at      timestamptz,
    attention_reason text, -- not null: needs attention, runs end at once
    attention_at     timestamptz,
    export_user      text not null default session_user,
    created_at       timestamptz not null default now()
);

-- Apart from the connection, so that nobody who may read that reads this.
create table klaviyo.connection_key (
    connection_id bigint primary key references klaviyo.connection on delete cascade,
    key_pair_id   integer not null references klaviyo.key_pair,
    sealed_key    bytea not null,
    changed_at    timestamptz not null default now(),
    changed_by    text not null default session_user
);

-- Roles beside klaviyo_admin that may use a connection.
create table klaviyo.connection_grant (
    connection_id bigint not null references klaviyo.connection on delete cascade,
    role_name     text not null,
    granted_by    text not null default session_user,
    granted_at    timestamptz not null default now(),
    primary key (connection_id, role_name)
);

create table klaviyo.export (
    export_id       bigint generated always as identity primary key,
    name            text not null unique check (length(name) between 1 and 200),
    connection_id   bigint not null references klaviyo.connection,
    list_id         text not null check (list_id ~ '^[A-Za-z0-9_-]{1,128}$'),
    list_name       text,
    list_checked_at timestamptz,
    email_path      text[] not null check (cardinality(email_path) > 0),
    max_profiles    bigint not null default 100000 check (max_profiles > 0),
    on_leave        text not null default 'keep' check (on_leave in ('keep', 'remove')),
    paused          boolean not null default false,
    pause_reason    text,
    -- Keys the fingerprints of sent rows (SipHash), so that they tell nothing.
    fingerprint_key bytea not null default uuid_send(gen_random_uuid())
                    check (length(fingerprint_key) = 16),
    created_by      text not null default session_user,
    created_at      timestamptz not null default now(),
    changed_at      timestamptz not null default now()
);
create index on klaviyo.export (connection_id);

create table klaviyo.export_segment (
    export_id  bigint not null references klaviyo.export on delete cascade,
    segment_id text not null check (length(segment_id) between 1 and 200),
    primary key (export_id, segment_id)
);
create index on klaviyo.export_segment (segment_id);

-- What is sent beside the address: position orders the members of the object.
create table klaviyo.export_field (
    export_id bigint not null references klaviyo.export on delete cascade,
    position  integer not null,
    target    text not null check (target in ('attribute', 'property')),
    name      text not null check (length(name) between 1 and 200),
    path      text[] not null check (cardinality(path) > 0),
    primary key (export_id, position),
    unique (export_id, target, name)
);
