-- As before, but a job that Klaviyo keeps no more (seven days) has ended, whatever it answers.
create or replace function klaviyo.late_jobs(p_run_id bigint, p_epoch integer, p_unknown_ms bigint)
returns table (late_job_id bigint, job_id text, given_up boolean)
language plpgsql as $$
begin
    perform klaviyo.settle_late_job(p_run_id, p_epoch, j.late_job_id)
    from klaviyo.run r join klaviyo.late_job j using (export_id)
    where r.run_id = p_run_id
      and (j.job_id is null and j.since < clock_timestamp() - p_unknown_ms * interval '1 ms'
           or j.since < clock_timestamp() - interval '8 days');
    return query
    select j.late_job_id, j.job_id, j.given_up
    from klaviyo.run r join klaviyo.late_job j using (export_id)
    where r.run_id = p_run_id and j.job_id is not null
    order by j.late_job_id;
end
$$;
