"""dead-letters list and replay."""

from __future__ import annotations

import dataclasses
import json

from support import events, people
from support.process import wait_until
from support.worker import Worker
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
    replayed = world.admin("dead-letters", "replay").stdout
    assert "There is no dead letter" in replayed and world.dead_letter_topic in replayed


def test_a_letter_is_listed_with_all_that_it_says(world: World) -> None:
    let_a_run_fail(world)
    (run,) = world.runs()

    (letter,) = world.admin("dead-letters", "list", "--json").json

    assert letter["reason"] == "over_profile_limit" and letter["exports"] == EXPORT
    assert letter["segment_id"] == SEGMENT and letter["run_id"] == run["id"]
    assert letter["attempts"] == 1 and letter["has_value"] is True
    assert letter["event_topic"] == world.topic and letter["event_offset"] == 0
    assert letter["solved"] is False
    assert "over_profile_limit" in world.admin("dead-letters", "list").stdout


def test_a_replayed_event_runs_again(world: World) -> None:
    let_a_run_fail(world)
    world.admin("export", "update", EXPORT, "--max-profiles", "100")

    result = world.admin("dead-letters", "replay", "--reason", "over_profile_limit")

    assert "1 event" in result.stdout
    newest, _ = world.wait_runs_ended(2)
    assert newest["state"] == "succeeded" and world.simulator.count(LIST) == 20
    world.wait_all_committed()
    (letter,) = world.admin("dead-letters", "list", "--json").json
    assert letter["solved"] is True
    # Nothing is left to be done for it.
    end = world.end()
    result = world.admin("dead-letters", "replay")
    assert "solved" in result.stdout and world.end() == end


def page_with_the_newest_run(world: World, worker: Worker) -> str:
    (run, *_) = world.runs("--limit", "1")
    wait_until(lambda: json.loads(worker.page("/api/runs"))[0] == run, 20, "a snapshot that has the newest run")
    return worker.page("/")


def test_a_letter_of_which_a_full_run_was_asked_is_solved_by_a_full_run_alone_and_never_by_a_trial(world: World) -> None:
    world.set_up_export(people.simple(20))
    world.admin("export", "update", EXPORT, "--max-profiles", "10")
    worker = world.start_worker()
    worker.wait_ready()
    world.refresh(full=True)
    wait_until(world.dead_letters, 30, "a dead letter")

    for ran in ("trial", "changes", "full"):
        if ran == "trial":
            assert world.admin("export", "try", EXPORT, "--rows", "2", "--direct").rc == 0
        else:
            world.admin("export", "update", EXPORT, "--max-profiles", "100")
            world.admin("publish", "--export", EXPORT, "--wait", *(["--full"] if ran == "full" else []))
        (letter,) = world.admin("dead-letters", "list", "--json").json
        page = page_with_the_newest_run(world, worker)
        assert letter["solved"] is (ran == "full"), ran
        assert ("solved since" in page) is (ran == "full"), ran
        if ran == "trial":
            assert "the last 1 runs, 1 of them failed" in page, "what is tried says nothing of how the list is kept"


def test_only_letters_of_the_reason_are_replayed_and_none_is_said(world: World) -> None:
    let_a_run_fail(world)
    end = world.end()

    result = world.command("dead-letters", "replay", "--reason", "list_gone")

    assert world.end() == end
    assert result.rc == 1
    assert "list_gone" in result.stderr and "over_profile_limit" in result.stderr


def test_without_the_database_letters_are_listed_and_replayed(world: World) -> None:
    let_a_run_fail(world)
    end = world.end()
    away = {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}

    (letter,) = world.command("dead-letters", "list", "--json", **away).json
    replayed = world.command("dead-letters", "replay", **away)

    assert letter["solved"] is None
    assert replayed.rc == 0 and "database" in replayed.stderr
    assert world.end() == end + 1


def test_one_letter_that_cannot_be_replayed_does_not_stop_the_others(world: World) -> None:
    good = events.binary("nobody")
    said = {"x-klaviyo-worker-reason": b"list_gone", "x-klaviyo-worker-attempts": b"1"}
    letters = [
        dataclasses.replace(good, headers={**good.headers, **said, **more})
        for more in ({"x-klaviyo-worker-exports": b"\xff\xfe"}, {"colour": b"\xff\x00"}, {})
    ]
    events.publish(world.kafka.address, world.dead_letter_topic, letters)

    listed = world.admin("dead-letters", "list", "--json").json
    result = world.command("dead-letters", "replay")

    assert [letter["exports"] for letter in listed] == ["??", None, None]
    assert result.rc == 1 and "offset 0" in result.stderr
    assert "Published 2 events again" in result.stdout
    assert world.end() == 2


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
