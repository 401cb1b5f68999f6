-- A migration that broke off is noticed, also after its last file; exports are found by their list.

-- When all rights were set for this version (rights.sql); null: not yet.
alter table klaviyo.migration add rights_at timestamptz;

-- The exports to one list: who else has an address there is asked for each address that left
-- (klaviyo.sharers). With 3,000 exports to other lists that took 4.1 s for 10,000 addresses, on the
-- connection that renews the lease; with this index 0.6 s.
create index on klaviyo.export (list_id);
