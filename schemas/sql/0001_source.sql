-- What upstream fills and the worker reads. A site with tables of its own
-- replaces the view; nothing here is changed if it is there already, and no right
-- is needed to make what is there.
do $$
begin
    if to_regnamespace('insights') is null then
        create schema insights;
    end if;
    if to_regclass('insights.segment') is null then
        create table insights.segment (
            segment_id text primary key,
            name       text
        );
    end if;
    if to_regclass('insights.customer_profile') is null then
        create table insights.customer_profile (
            profile_id text primary key,
            attributes jsonb not null
        );
    end if;
    if to_regclass('insights.segment_member') is null then
        create table insights.segment_member (
            segment_id text not null,
            profile_id text not null,
            primary key (segment_id, profile_id)
        );
    end if;
    if to_regclass('insights.segment_profile') is null then
        create view insights.segment_profile as
        select m.segment_id, m.profile_id, p.attributes
        from insights.segment_member m
        join insights.customer_profile p using (profile_id);
    end if;
end
$$;
