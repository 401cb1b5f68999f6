-- How many profiles the Klaviyo plan of an account allows, as it was told last: for
-- people who look, not for a decision. Whoever asks Klaviyo notes it.
create table klaviyo.account_plan (
    account text primary key, -- as the rate limit names it
    used    bigint not null,
    maximum bigint, -- null: no limit is named
    told_at timestamptz not null default clock_timestamp()
);

alter table klaviyo.account_plan enable row level security;
create policy everything on klaviyo.account_plan to klaviyo_admin, klaviyo_worker using (true);
