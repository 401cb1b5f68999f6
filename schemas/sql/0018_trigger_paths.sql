-- Triggers fire in everybody's sessions: what they call is not looked up in the
-- search path of whoever writes the row. A test holds it for those to come.
alter function klaviyo.commit_durably() set search_path = pg_catalog, pg_temp;
alter function klaviyo.run_changes_hands() set search_path = pg_catalog, pg_temp;
