"""The checker of histories finds what must never be: each rule is broken by hand once."""

from __future__ import annotations

import struct

import pytest
from chaos.history import NEVER, History, parse_commit, unanswered

from support import people
from support.postgres import Postgres
from support.world import MakeWorld

QUEUED = """
    set local application_name = 'klaviyo-worker-1';
    insert into klaviyo.request (topic, partition, record_offset, record_ms, segment_id) values ('t', 0, 0, 0, 's');
    insert into klaviyo.run (export_id, export_name, connection_name, trigger)
    select export_id, name, 'main', 'scheduled' from klaviyo.export;
    insert into klaviyo.request_run select request_id, run_id from klaviyo.request, klaviyo.run;"""
TAKE = """
    update klaviyo.run set state = 'running', epoch = epoch + 1, plan_epoch = epoch + 1, first_batch = 0,
    lease_until = clock_timestamp() + interval '1 minute', parked_until = null;"""
TAKEN = QUEUED + TAKE
BATCH = """
    insert into klaviyo.batch (batch_id, export_id, run_id, row_count) select 1, export_id, run_id, 1 from klaviyo.run;
    insert into klaviyo.ledger (export_id, address, fingerprint, batch_id) select export_id, 'a@b.example', 1, 1
    from klaviyo.run;"""
SENT = "update klaviyo.batch set state = 'sent', posted_at = now();"
COMPLETE = "update klaviyo.batch set state = 'complete';"
MARKED = "update klaviyo.ledger set left_run = r.run_id, left_epoch = r.epoch from klaviyo.run r;"
PLANNED = TAKEN + BATCH
END = "update klaviyo.run set state = 'succeeded', epoch = epoch + 1, finished_at = now(), accepted_rows = 1;"
OTHER = "set local application_name = 'klaviyo-worker-2';"

# What is right, from an event to a removal.
RIGHT = f"""{PLANNED}{SENT}{COMPLETE}{END}
    update klaviyo.request set state = 'done';
    insert into klaviyo.run (export_id, export_name, connection_name, trigger)
    select export_id, name, 'main', 'scheduled' from klaviyo.export;
    {TAKE.replace(';', " where state = 'queued';")}
    update klaviyo.ledger set left_run = r.run_id, left_epoch = r.epoch, removing = true
    from klaviyo.run r where r.state = 'running';
    delete from klaviyo.ledger;"""

WRONG = {
    "a request goes another way than open, done or due, dead-lettered":
        QUEUED + "update klaviyo.request set state = 'done'; update klaviyo.request set state = 'open';",
    "a request ends before its runs": TAKEN + "update klaviyo.request set state = 'done';",
    "a failed run does not fail its request, or another does":
        TAKEN + END.replace("succeeded", "failed") + "update klaviyo.request set state = 'done';",
    "a run answers a request that came after it was taken": TAKEN + """
        insert into klaviyo.request (topic, partition, record_offset, record_ms, segment_id) values ('t', 0, 1, 0, 's');
        insert into klaviyo.request_run select max(request_id), max(run_id) from klaviyo.request, klaviyo.run;""",
    "a run's state or epoch goes a way that is none": TAKEN + "update klaviyo.run set epoch = epoch - 1;",
    "a run is taken from, or ended for, a worker whose lease holds": TAKEN + OTHER + TAKE,
    "two takes have one id": TAKEN + """
        alter table klaviyo.run disable trigger run_changes_hands; update klaviyo.run set epoch = epoch + 1;""",
    "a run is written by another than who took it": TAKEN + OTHER + "update klaviyo.run set read_rows = 1;",
    "a batch is written by another than who took its run": PLANNED + OTHER + SENT,
    "the ledger is written by another than who took the run": PLANNED + OTHER + MARKED,
    "a batch goes a way that is none": PLANNED + COMPLETE,
    "a batch is confirmed twice": PLANNED + SENT + COMPLETE + SENT + COMPLETE,
    "a run succeeds with a batch on its way": PLANNED + SENT + END,
    "a run's counts are not its confirmed batches": TAKEN + END,
    "a batch and its rows of the ledger do not come together": PLANNED + "delete from klaviyo.ledger;" + """
        insert into klaviyo.ledger (export_id, address, fingerprint, batch_id) values (1, 'c@d.example', 1, 1);""",
    "an address counts as listed before a batch with it was confirmed":
        PLANNED + SENT + "update klaviyo.ledger set listed = true;",
    "somebody is removed who was not marked by the pass that counts":
        PLANNED + MARKED + "update klaviyo.run set plan_epoch = 7; update klaviyo.ledger set removing = true;",
    "an address is forgotten that is on the list":
        PLANNED + SENT + COMPLETE + MARKED + "delete from klaviyo.ledger;",
    "a run's end and its outcome do not come together": PLANNED + SENT + COMPLETE + """
        alter table klaviyo.run disable trigger run_has_ended;""" + END,
    "an outcome comes twice": PLANNED + SENT + COMPLETE + END + """
        insert into klaviyo.outcome (run_id, epoch, export_name, segment_id, data, ended_at)
        select run_id, epoch, 'x', 'other', '{}', now() from klaviyo.run;""",
    "a task goes a way that is none": """
        insert into klaviyo.task (kind, connection_id, arguments, created_by)
        select 'export try', connection_id, '{}', 'x' from klaviyo.connection;
        update klaviyo.task set state = 'running';
        update klaviyo.task set state = 'done'; update klaviyo.task set state = 'running', token = 1;""",
}  # fmt: skip


def test_each_rule_of_a_history_can_be_broken(make_world: MakeWorld, own_postgres: Postgres) -> None:
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(1))
    History(world)
    assert WRONG.keys() == NEVER.keys()
    with world.db.connect() as connection:
        connection.autocommit = False

        def broken(script: str) -> set[str]:
            connection.execute(script.encode())
            found = {s for s, query in NEVER.items() if connection.execute(query.encode()).fetchall()}
            connection.rollback()
            return found

        assert broken(RIGHT) == set()
        assert [sentence for sentence, script in WRONG.items() if sentence not in broken(script)] == []


@pytest.mark.parametrize(
    ("commits", "wrong"),
    [
        ([(0, 2, 20), (1, 1, 15), (0, 2, 25), (0, 3, 30)], 0),
        ([(0, 1, 9)], 1),  # before it had ended
        ([(0, 2, 15)], 1),  # after the first, before the second
        ([(0, 4, 99)], 1),  # the last one never ended
        ([(0, 2, 20), (0, 1, 21)], 1),  # back
        ([(2, 1, 99)], 1),  # of a partition that nobody knows
    ],
)
def test_a_commit_that_passes_what_has_not_ended_is_found(
    commits: list[tuple[int, int, int]], wrong: int
) -> None:
    ended = {(0, 0): 10, (0, 1): 20, (0, 2): 30, (1, 0): 10}
    assert len(list(unanswered(commits, ended))) == wrong


def test_a_commit_is_read_as_the_broker_writes_it() -> None:
    def text(value: str) -> bytes:
        return struct.pack(">h", len(value)) + value.encode()

    key = struct.pack(">h", 1) + text("workers") + text("refresh") + struct.pack(">i", 7)
    value = struct.pack(">hqi", 3, 42, -1) + text("") + struct.pack(">q", 0)
    assert parse_commit(key, value) == ("workers", "refresh", 7, 42)
    assert parse_commit(key, None) is None, "the group's offsets have expired"
    assert parse_commit(struct.pack(">h", 2) + text("workers"), value) is None, "a group, and no offset"
