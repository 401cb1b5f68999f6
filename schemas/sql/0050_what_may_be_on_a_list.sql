-- What is remembered of a list is not true of another one.

-- As before, but jobs that the runs leave name a list that is the export's no more: they are
-- waited for, as what they hold is older than what the next run sends, and put nobody on the
-- new list.
create or replace function klaviyo.export_is_changing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (new.connection_id, new.list_id, new.email_path, new.max_profiles, new.paused)
       is not distinct from
       (old.connection_id, old.list_id, old.email_path, old.max_profiles, old.paused) then
        if (new.list_name, new.list_checked_at)
           is not distinct from (old.list_name, old.list_checked_at) then
            new.changed_at := clock_timestamp(); -- its segments or fields, which have own rows
        end if;
        return new;
    end if;
    perform klaviyo.stop_runs(old.export_id, case when new.paused then 'export_paused'
                                             else 'export_changed' end);
    new.changed_at := clock_timestamp();
    if (new.connection_id, new.list_id) is distinct from (old.connection_id, old.list_id) then
        -- Another list: nothing of what was sent is on it, or will be.
        new.list_name := null;
        new.list_checked_at := null;
        delete from klaviyo.ledger where export_id = old.export_id;
        delete from klaviyo.batch where export_id = old.export_id;
        update klaviyo.late_job set with_list = false where export_id = old.export_id;
        update klaviyo.run r set connection_name = c.name
        from klaviyo.connection c
        where r.export_id = old.export_id and r.state = 'queued'
          and c.connection_id = new.connection_id;
    end if;
    return new;
end
$$;
