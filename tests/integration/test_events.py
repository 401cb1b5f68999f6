"""What becomes of each event, and of its offset."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import events, people
from support.events import Message
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, MakeWorld, World

MEBIBYTE = 1024 * 1024


def with_data(**changes: Any) -> Message:
    """A binary event with members of its data changed; None leaves one out."""
    good = events.binary(SEGMENT)
    assert good.value
    data = {**json.loads(good.value), **changes}
    data = {name: value for name, value in data.items() if value is not None}
    return Message(json.dumps(data).encode(), good.headers, good.key)


def with_value(value: bytes) -> Message:
    return Message(value, events.binary(SEGMENT).headers, SEGMENT.encode())


INVALID = {
    "not-json": with_value(b"{segment"),
    "empty": with_value(b""),
    "no-object": with_value(b"[1]"),
    "not-utf-8": with_value(b'{"segment_id":"\xff"}'),
    "no-segment": with_data(segment_id=None),
    "no-refresh-id": with_data(refresh_id=None),
    "no-time": with_data(refreshed_at=None),
    "segment-of-wrong-type": with_data(segment_id=7),
    "segment-empty": with_data(segment_id=""),
    "segment-too-long": with_data(segment_id="s" * 201),
    "time-malformed": with_data(refreshed_at="yesterday"),
    "trigger-unknown": with_data(trigger="whim"),
    "full-of-wrong-type": with_data(full="yes"),
    "one-mebibyte": with_data(padding="x" * MEBIBYTE),
    "type-unknown": events.binary(SEGMENT, type_="segment.deleted.v1"),
    "major-version-unknown": events.binary(SEGMENT, type_="segment.refreshed.v2"),
}


def test_malformed_events_become_dead_letters_and_the_good_one_behind_them_is_done(
    world: World,
) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.start_worker().wait_ready()
    bad = list(INVALID.values())
    world.publish(*bad, Message(None, {}, SEGMENT.encode()), events.binary(SEGMENT))

    run = world.wait_runs_ended()[0]
    world.wait_all_committed()

    assert run["state"] == "succeeded" and run["events"] == 1
    assert world.simulator.emails(LIST) == population.wanted.keys()
    letters = world.dead_letters()
    assert len(letters) == len(bad)
    for offset, (message, letter) in enumerate(zip(bad, letters, strict=True)):
        check_invalid_letter(world, message, letter, offset)


def check_invalid_letter(
    world: World, message: Message, letter: events.Record, offset: int
) -> None:
    assert (letter.key, letter.value) == (message.key, message.value)
    for name, value in message.headers.items():
        assert letter.header(name) == value.decode()
    assert letter.header("__connect.errors.topic") == world.topic
    assert letter.header("__connect.errors.partition") == "0"
    assert letter.header("__connect.errors.offset") == str(offset)
    assert letter.header("__connect.errors.exception.class.name") == "event_invalid"
    assert letter.header("__connect.errors.exception.message")
    assert letter.header("x-klaviyo-worker-reason") == "event_invalid"
    assert letter.header("x-klaviyo-worker-attempts") == "1"
    assert not [name for name, _ in letter.headers if name == "x-klaviyo-worker-run-id"]


def test_unknown_members_of_an_event_are_ignored(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    world.publish(with_data(colour="green", trigger="on-demand", full=True))

    run = world.wait_runs_ended()[0]

    assert run["state"] == "succeeded"
    assert run["trigger"] == "on-demand" and run["full"] is True


def test_100_waiting_events_are_answered_by_one_run(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.fault("import", {"delay_ms": 3000}, times=1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.runs() and world.runs()[0]["state"] == "running", 20, "a run")

    world.publish(*[events.binary(SEGMENT) for _ in range(100)])

    newest, first = world.wait_runs_ended(2)
    world.wait_all_committed()
    assert first["events"] == 1 and newest["events"] == 100
    assert world.end() == 101


def test_an_event_published_again_makes_no_new_run(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.start_worker().wait_ready()
    message = events.binary(SEGMENT)
    world.publish(message)
    world.wait_runs_ended(1)

    world.publish(message)
    world.wait_all_committed()

    assert len(world.runs()) == 1


def test_an_event_for_one_export_runs_no_other(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("other", list_id="Other1")
    world.start_worker().wait_ready()
    world.refresh(export_id="other")

    run = world.wait_runs_ended(1)[0]
    world.wait_all_committed()

    assert run["export"] == "other" and len(world.runs()) == 1
    assert world.simulator.count(LIST) == 0 and world.simulator.count("Other1") == 10


def test_an_event_runs_every_export_of_its_segment(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("other", list_id="Other1")
    world.start_worker().wait_ready()
    world.refresh()

    runs = world.wait_runs_ended(2)
    world.wait_all_committed()

    assert {run["export"] for run in runs} == {EXPORT, "other"}
    assert world.simulator.count(LIST) == world.simulator.count("Other1") == 10


def test_events_of_many_partitions_are_committed_on_each(make_world: MakeWorld) -> None:
    world = make_world(partitions=6)
    world.set_up_export(people.simple(10))
    world.start_worker().wait_ready()
    for partition in range(6):
        world.publish(events.binary(SEGMENT), events.binary("other"), partition=partition)

    world.wait_runs_ended(1)
    world.wait_all_committed()

    assert world.end() == 12


def test_a_letter_too_large_for_the_broker_goes_without_its_value(world: World) -> None:
    small = f"{world.name}.small-letters"
    world.kafka.create_topic(small, 1, **{"max.message.bytes": "100000"})
    world.start_worker(KAFKA_DEAD_LETTER_TOPIC=small).wait_ready()
    message = INVALID["one-mebibyte"]
    assert message.value

    world.publish(message)
    world.wait_all_committed()

    letter = events.read_all(world.kafka.address, small)[0]
    assert not letter.value
    assert letter.header("x-klaviyo-worker-value-bytes") == str(len(message.value))


@pytest.mark.parametrize("replays", [1, 2])
def test_a_dead_letter_is_replayed(world: World, replays: int) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.remove_list(LIST)
    world.start_worker().wait_ready()
    world.refresh()
    failed = world.wait_runs_ended(1)[0]
    assert (failed["state"], failed["reason"]) == ("failed", "list_gone")
    world.wait_all_committed()

    for attempt in range(2, replays + 1):
        world.admin("dead-letters", "replay")
        world.wait_runs_ended(attempt)
        world.wait_all_committed()
        assert world.dead_letters()[-1].header("x-klaviyo-worker-attempts") == str(attempt)

    letter = world.dead_letters()[-1]
    assert letter.header("x-klaviyo-worker-reason") == "list_gone"
    assert letter.header("x-klaviyo-worker-exports") == EXPORT
    assert letter.header("x-klaviyo-worker-run-id") == str(world.runs()[0]["id"])
    world.simulator.add_list(LIST, "AcctA1", "Newsletter")
    world.admin("dead-letters", "replay")
    newest = world.wait_runs_ended(replays + 1)[0]
    assert newest["state"] == "succeeded"
    assert world.simulator.count(LIST) == 10


def test_one_full_refresh_among_those_that_wait_makes_their_run_a_full_one(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)

    for full in (False, True, False):
        world.refresh(full=full)
    wait_until(lambda: world.db.value("select count(*) from klaviyo.request") == 4, 30, "the events to be taken in")

    assert world.db.value("select full_refresh from klaviyo.run where state = 'queued'") is True


def test_an_event_has_ended_with_the_last_of_its_runs(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.add_export("second")
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 2)

    world.admin("export", "pause", "second")

    assert world.db.value("select state from klaviyo.request") == "open" and world.committed() == 0
    world.simulator.clear_faults()
    world.wait_all_committed(60)
    assert world.db.value("select state from klaviyo.request") == "done"
