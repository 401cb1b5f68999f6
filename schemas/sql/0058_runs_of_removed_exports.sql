-- A run of an export that is gone is of the connection whose name it has kept, as may_see() has it:
-- whoever may use that still sees it, and its events.
alter policy granted on klaviyo.run using (
    exists (select from klaviyo.export x where x.export_id = run.export_id)
    or (run.export_id is null and exists (
        select from klaviyo.connection c where c.name = run.connection_name)));
