-- Who is in a batch is compressed as its body is: the default would take a fifth of the
-- time of the whole planning.
do $$
begin
    alter table klaviyo.batch alter column profile_ids set compression lz4;
exception when feature_not_supported then
    alter table klaviyo.batch alter column profile_ids set storage external;
end
$$;
