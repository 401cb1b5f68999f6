-- What Klaviyo says to a command about when to come back holds for all workers, too. An
-- administrator's command counts its requests as a worker does, by the right of the owner.
alter function klaviyo.block_account(text, text, bigint)
    security definer set search_path = pg_catalog, pg_temp;
