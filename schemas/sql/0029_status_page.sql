-- The status page asks for the newest dead letters every second while somebody looks at it.
create index request_dead_letters on klaviyo.request (request_id)
    where state in ('dead_letter_due', 'dead_lettered');
