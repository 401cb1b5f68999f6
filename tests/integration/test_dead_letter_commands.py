"""dead-letters list and replay."""

from __future__ import annotations

from support import events, people
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, World


def let_a_run_fail(world: World) -> None:
    world.set_up_export(people.simple(20))
    world.admin("export", "update", EXPORT, "--max-profiles", "10")
    world.start_worker()
    world.refresh()
    wait_until(world.dead_letters, 30, "a dead letter")


def test_an_empty_topic_lists_nothing(world: World) -> None:
    assert world.admin("dead-letters", "list", "--json").json == []
    assert "no dead letter" in world.admin("dead-letters", "list").stdout
    assert "0 events" in world.admin("dead-letters", "replay").stdout


def test_a_letter_is_listed_with_all_that_it_says(world: World) -> None:
    let_a_run_fail(world)
    (run,) = world.runs()

    (letter,) = world.admin("dead-letters", "list", "--json").json

    assert letter["reason"] == "over_profile_limit" and letter["exports"] == EXPORT
    assert letter["segment_id"] == SEGMENT and letter["run_id"] == run["id"]
    assert letter["attempts"] == 1 and letter["has_value"] is True
    assert letter["event_topic"] == world.topic and letter["event_offset"] == 0
    assert "over_profile_limit" in world.admin("dead-letters", "list").stdout


def test_a_replayed_event_runs_again(world: World) -> None:
    let_a_run_fail(world)
    world.admin("export", "update", EXPORT, "--max-profiles", "100")

    result = world.admin("dead-letters", "replay", "--reason", "over_profile_limit")

    assert "1 event" in result.stdout
    newest, _ = world.wait_runs_ended(2)
    assert newest["state"] == "succeeded" and world.simulator.count(LIST) == 20
    # Once more does no harm: the event has succeeded since.
    world.admin("dead-letters", "replay")
    world.wait_all_committed()
    assert len(world.runs()) == 2


def test_only_letters_of_the_reason_are_replayed(world: World) -> None:
    let_a_run_fail(world)
    end = world.end()

    world.admin("dead-letters", "replay", "--reason", "list_gone")

    assert world.end() == end


def test_a_letter_that_is_no_event_is_listed_all_the_same(world: World) -> None:
    world.start_worker()
    world.publish(events.Message(b"\xff\xfe not JSON", {}, b"\xff\x00key"))
    wait_until(world.dead_letters, 30, "a dead letter")

    (letter,) = world.admin("dead-letters", "list", "--json").json

    assert letter["reason"] == "event_invalid" and letter["exports"] is None
    assert letter["segment_id"] == "??key"


def test_a_missing_topic_is_said(world: World) -> None:
    result = world.command("dead-letters", "list", KAFKA_DEAD_LETTER_TOPIC="there-is-none")

    assert result.rc == 1 and "there-is-none" in result.stderr
