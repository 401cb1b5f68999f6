"""Events that are taken in together end as each of them would alone, and those of nobody cost little."""

from __future__ import annotations

import random
from typing import Any

import psycopg

from support import people
from support.world import EXPORT, SEGMENT, World

BATCH = 500
ROUNDS, RECORDS, EVENTS = 60, 400, 25
ROW = f"({', '.join(['%s'] * 16)})::klaviyo.event"
TOGETHER = "select state from klaviyo.take_in(%s::klaviyo.event[], 1000, %s)"
ALONE = "select a.state from klaviyo.accept_event(%s::klaviyo.event) a"
WRITTEN = """select q.topic, q.partition, q.record_offset, q.record_ms, q.state, array_agg(r.export_name
order by r.export_name) from klaviyo.request q left join klaviyo.request_run using (request_id)
left join klaviyo.run r using (run_id) group by q.request_id order by 1, 2, 3, 4"""
Event = tuple[Any, ...]


def event(offset: int, segment: str | None, identity: str | None = None, name: str | None = None) -> Event:
    """As klaviyo.event has it; without a segment it is invalid."""
    source = "/publisher" if identity else None
    reason = None if segment else "event_invalid"
    described = ("r", "2026-11-24T08:00:00Z", "schedule") if segment else (None, None, None)
    about = (source, identity, segment, *described, name, False, False, None, reason, None)
    return ("topic", offset % 3, offset, 1_700_000_000_000, *about)


def take_in(connection: psycopg.Connection[Any], batch: list[Event], one_by_one: bool = False) -> list[str]:
    rows = ", ".join(["row" + ROW] * len(batch))
    statement = TOGETHER.replace("%s", f"array[{rows}]", 1)
    values = [value for one in batch for value in one]
    return [state for (state,) in connection.execute(statement.encode(), [*values, one_by_one])]


def take_in_alone(connection: psycopg.Connection[Any], batch: list[Event]) -> list[str]:
    statement = ALONE.replace("%s", "row" + ROW)
    return [connection.execute(statement.encode(), one).fetchone()[0] for one in batch]  # type: ignore[index]


def test_events_that_concern_nobody_are_not_taken_in_one_by_one(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.admin("export", "pause", EXPORT)
    world.db.execute("alter function klaviyo.accept_event(klaviyo.event) rename to gone")
    batch = [event(n, f"nobody-{n}" if n % 2 else SEGMENT, f"id-{n}") for n in range(BATCH)]

    with world.db.connect() as connection:
        for one_by_one in (False, True):
            assert take_in(connection, batch, one_by_one) == ["ignored"] * BATCH
    assert world.db.value("select count(*) from klaviyo.request") == 0


def outcome(connection: psycopg.Connection[Any], batch: list[Event], how: Any) -> tuple[list[str], list[Any]]:
    """What became of them, and what was written; nothing stays."""
    with connection.transaction(force_rollback=True):
        states = how(connection, batch)
        return states, connection.execute(WRITTEN.encode()).fetchall()


def random_records(dice: random.Random) -> list[Event]:
    """Few segments and ids, so that they meet again."""
    segments = (SEGMENT, SEGMENT, "paused", "both", "nobody", "nobody", None)
    identities = (None, "a", "b", "c", "d")
    names = (None, None, None, EXPORT, "asleep", "unknown")
    return [
        event(offset, dice.choice(segments), dice.choice(identities), dice.choice(names))
        for offset in range(RECORDS)
    ]


SUCCEED = "update klaviyo.run set state = 'succeeded', finished_at = now() where state = 'queued'"
CANCEL = "update klaviyo.run set state = 'cancelled', finished_at = now() where run_id % 2 = 0"
DIE = "update klaviyo.request set state = 'dead_lettered' where request_id % 2 = 0"
FORGET = "delete from klaviyo.request where request_id % 3 = 0"
END = "update klaviyo.request set state = 'done' where state = 'open'"
PAUSE = "update klaviyo.export set paused = random() < 0.5"


def change(connection: psycopg.Connection[Any], dice: random.Random) -> None:
    """What happens between two batches."""
    for statement in dice.choice(((SUCCEED, END), (SUCCEED, END), (CANCEL, END), (DIE,), (FORGET,), ())):
        connection.execute(statement.encode())
    connection.execute(PAUSE.encode())


def test_events_that_are_taken_in_together_end_as_each_would_alone(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.admin("export", "update", EXPORT, "--segment", SEGMENT, "--segment", "both", "--force")
    world.add_export("asleep", segments=("paused", "both"))
    world.admin("export", "pause", "asleep")
    dice = random.Random(4711)
    records = random_records(dice)
    seen: set[str] = set()

    with world.db.connect() as connection:
        connection.execute(b"select setseed(0.4711)")
        for number in range(ROUNDS):
            batch = dice.choices(records, k=EVENTS)
            alone = outcome(connection, batch, take_in_alone)
            assert outcome(connection, batch, take_in) == alone, f"round {number}: {batch}"
            states = take_in(connection, batch, one_by_one=number % 2 == 1)
            assert states == alone[0], f"round {number}: {batch}"
            seen.update(states)
            change(connection, dice)
    assert seen == {"open", "done", "ignored", "dead_letter_due", "dead_lettered"}
