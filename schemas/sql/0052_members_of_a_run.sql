-- member_rows: members as the pass with which planning ended read them: read_rows without
-- rows of earlier passes whose members had left by then. Null: not planned, or by a worker of
-- the version before.
alter table klaviyo.run add member_rows bigint;
