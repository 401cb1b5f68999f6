-- What upstream fills and the worker reads. A site with tables of its own
-- replaces the view; nothing here is changed if it is there already.
create schema if not exists insights;

create table if not exists insights.segment (
    segment_id text primary key,
    name       text
);

create table if not exists insights.customer_profile (
    profile_id text primary key,
    attributes jsonb not null
);

create table if not exists insights.segment_member (
    segment_id text not null,
    profile_id text not null,
    primary key (segment_id, profile_id)
);

do $$
begin
    if to_regclass('insights.segment_profile') is null then
        create view insights.segment_profile as
        select m.segment_id, m.profile_id, p.attributes
        from insights.segment_member m
        join insights.customer_profile p using (profile_id);
    end if;
end
$$;
