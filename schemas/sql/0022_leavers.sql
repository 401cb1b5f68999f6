-- What is remembered so that a list can follow its segment. A worker of the version before writes
-- none of it, and everything here has a meaning where it is missing.

-- profile_id: whom the address was sent for last; null: it was sent before this was remembered.
-- left_run, left_epoch: the pass over the members that found nobody with this address; it counts
-- only if it is the pass with which that run's planning ended. Null for all who did not leave.
-- filled: which fields had a value as sent, a bit for each (worker/export/mapping.h); null: not known.
alter table klaviyo.ledger
    add profile_id text,
    add left_run bigint,
    add left_epoch integer,
    add filled bigint;

-- Whether the import names the list, or only brings the profiles up to date.
alter table klaviyo.batch add with_list boolean not null default true;

-- plan_epoch: the pass with which planning ended. there_rows: addresses of which this export
-- knows that it put them on the list, those that left among them.
alter table klaviyo.run
    add plan_epoch integer,
    add there_rows bigint not null default 0,
    add address_changes bigint not null default 0,
    add not_cleared_rows bigint not null default 0;
