-- A migration that broke off is noticed, also after its last file.

-- When all rights were set for this version (rights.sql); null: not yet.
alter table klaviyo.migration add rights_at timestamptz;
