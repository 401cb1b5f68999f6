"""What publishers put into an event: odd JSON, odd names, odd media types."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from support import events, people
from support.events import Message
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, World

# Numbers that no 64 bits hold, what no string of Unicode characters can be, depth.
ODD_MEMBERS = (
    '"sequence":123456789012345678901234567890,"weight":1e400,"more":[-1E-400,{"deep":1e999}],'
    '"half":"\\ud800","nul\\u0000":"\\u0000","nest":' + "[" * 3000 + "]" * 3000
)


def with_headers(message: Message, **headers: str) -> Message:
    added = {name: value.encode("latin-1") for name, value in headers.items()}
    return dataclasses.replace(message, headers={**message.headers, **added})


def with_members(message: Message, members: str) -> Message:
    """The same event with more members, written as they stand."""
    assert message.value
    return dataclasses.replace(message, value=message.value[:-1] + f", {members}}}".encode())


def test_what_unknown_members_hold_does_not_matter(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    world.publish(with_members(events.binary(SEGMENT), ODD_MEMBERS))

    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"


def test_optional_members_that_are_null_are_absent(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    nothing = dict.fromkeys(["trigger", "export_id", "full", "confirm_removals", "confirm"])
    world.publish(events.binary(SEGMENT, **nothing))

    (run,) = world.wait_runs_ended(1)

    assert run["state"] == "succeeded"
    assert run["trigger"] == "schedule" and run["full"] is False


def let_both_exports_fail(world: World, message: Message) -> None:
    """`EU, UK` by a limit of its own, and the other one not at all."""
    world.set_up_export(people.simple(20))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("EU, UK", "--max-profiles", "10", list_id="Other1")
    world.start_worker().wait_ready()
    world.publish(message)
    world.wait_runs_ended(2)
    wait_until(world.dead_letters, 30, "a dead letter")


def replayed(world: World) -> list[dict[str, Any]]:
    """The runs that a replay made."""
    before = len(world.runs())
    world.admin("export", "update", "EU, UK", "--max-profiles", "100")
    world.admin("dead-letters", "replay")
    runs = world.wait_runs_ended(before + 1)
    world.wait_all_committed()
    return runs[: len(world.runs()) - before]


def test_a_letter_of_an_export_with_a_comma_in_its_name_runs_that_one_alone(world: World) -> None:
    message = with_members(events.binary(SEGMENT), ODD_MEMBERS)
    let_both_exports_fail(world, message)
    (letter,) = world.dead_letters()
    assert letter.header("x-klaviyo-worker-exports") == '"EU, UK"'

    runs = replayed(world)

    assert [run["export"] for run in runs] == ["EU, UK"]
    assert world.simulator.count("Other1") == 20
    again = events.read_all(world.kafka.address, world.topic)[-1]
    assert message.value and again.value
    # Every byte of the event is there again, with one member more.
    assert again.value == message.value[:-1] + b',"export_id":"EU, UK"}'


def test_a_structured_event_is_told_by_its_media_type_however_it_is_written(world: World) -> None:
    message = events.structured(SEGMENT)
    odd = with_headers(message, **{"content-type": " \tApplication/CloudEvents+JSON ; a=b"})
    let_both_exports_fail(world, odd)

    runs = replayed(world)

    assert [run["export"] for run in runs] == ["EU, UK"]
    assert world.simulator.count(LIST) == 20 and EXPORT != "EU, UK"
