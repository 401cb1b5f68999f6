-- As before, but what an export only planned to send, and never began to, holds nobody on the
-- list: who left both would stay there, as the one gives way and the other forgets.
create or replace function klaviyo.is_held_elsewhere(p_export_id bigint, p_address text)
returns boolean language sql stable as $$
    select exists (
        select from klaviyo.sharers(p_export_id) as o (export_id)
        join klaviyo.ledger l on l.export_id = o.export_id
        where l.address = p_address collate "C" and not l.removing
          and (l.listed or l.rejected_batch is null or l.batch_id > l.rejected_batch)
          and (l.listed or not exists (
              select from klaviyo.batch b
              where b.batch_id = l.batch_id and b.state = 'planned' and b.posted_at is null)))
$$;
