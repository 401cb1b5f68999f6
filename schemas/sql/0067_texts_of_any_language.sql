-- A person is forgotten whatever language the database has.

-- As before, but texts are lower-cased as addresses are (klaviyo.address_of): by a database's own
-- language, a Turkish one say, INFO@SHOP.EXAMPLE is not info@shop.example.
create or replace function klaviyo.forget_member(p_address text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_address text := klaviyo.address_of(p_address);
    v_exports jsonb := '[]';
    v_rejections jsonb;
    v_ended bigint[];
    v_others bigint[];
    v_retake bigint[];
    v_jobs integer;
    v record;
    f record;
begin
    perform klaviyo.must_be_admin();
    perform klaviyo.bound_transaction();
    if v_address is null then
        return null;
    end if;
    perform klaviyo.lock_forgetting(true);
    perform nextval('klaviyo.forgetting');
    -- Klaviyo's words about others, where they quote it: of runs that add no more of them.
    v_ended := array(select r.run_id from klaviyo.run r where r.finished_at is not null);
    update klaviyo.rejection set detail = null
    where run_id = any (v_ended) and position(v_address in lower(detail collate "C")) > 0;

    -- Whoever writes for a run holds it: nobody does from here on.
    perform from klaviyo.run r where r.state = 'running' order by r.run_id for update;
    v_retake := array(select r.run_id from klaviyo.run r
                      where r.state = 'running' and not r.planned);
    with gone as (delete from klaviyo.rejection j where j.email = v_address returning j.run_id),
         counted as (select r.export_id, count(*) as n from gone join klaviyo.run r using (run_id)
                     where r.export_id is not null group by r.export_id)
    select coalesce(jsonb_object_agg(c.export_id, c.n), '{}') into v_rejections from counted c;

    for v in select x.export_id, x.name from klaviyo.export x order by x.name loop
        select * into f from klaviyo.forget_in_export(v.export_id, v_address);
        update klaviyo.late_job set addresses = array_remove(addresses, v_address)
        where export_id = v.export_id and v_address = any (addresses);
        get diagnostics v_jobs = row_count;
        v_retake := v_retake || f.retaken;
        if f.was_known or v_jobs > 0 or v_rejections ? v.export_id::text then
            v_exports := v_exports || jsonb_build_object(
                'export', v.name, 'ledger', f.was_known, 'outbox', f.was_in_outbox,
                'rejections', coalesce(v_rejections -> v.export_id::text, '0'),
                'late_jobs', v_jobs);
        end if;
    end loop;
    -- The words of all other runs.
    v_others := array(select r.run_id from klaviyo.run r except select unnest(v_ended));
    update klaviyo.rejection set detail = null
    where run_id = any (v_others) and position(v_address in lower(detail collate "C")) > 0;
    -- What was found out for somebody who has not fetched it yet: whoever asked asks again.
    delete from klaviyo.task t where position(v_address in lower(to_jsonb(t)::text collate "C")) > 0;

    update klaviyo.run
    set epoch = epoch + 1, planned = false, lease_until = clock_timestamp(),
        lease_renewed_at = clock_timestamp(),
        takes_without_progress = greatest(takes_without_progress - 1, 0)
    where state = 'running' and run_id = any (v_retake);
    perform klaviyo.audit_write('forget', 'member', '(address not kept)',
                                jsonb_build_object('exports', v_exports));
    perform pg_notify('klaviyo_worker', 'queued');
    return jsonb_build_object('address', v_address, 'exports', v_exports,
                              'runs_taken_anew', (select count(distinct u) from unnest(v_retake) u));
end
$$;
