"""publish, runs watch, runs cancel: runs on demand and what people see of them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import Any

from support import events, people
from support.paths import program
from support.postgres import Postgres
from support.process import wait_until
from support.world import CONNECTION, EXPORT, LIST, SEGMENT, MakeWorld, World

FAILED, USAGE = 1, 2
SLOW = {"queued_ms": 200, "processing_ms": 60_000}


def follow(world: World, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(program("klaviyo-worker")), *words],
        env=world.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published(world: World) -> tuple[events.Record, dict[str, Any]]:
    (event,) = events.read_all(world.kafka.address, world.topic)
    assert event.value is not None
    return event, json.loads(event.value)


def test_publish_puts_a_cloud_event_on_the_topic(world: World) -> None:
    world.set_up_export(people.simple(1))

    world.admin("publish", SEGMENT, "--full", "--confirm-removals")

    event, data = published(world)
    assert event.key == SEGMENT.encode()
    assert event.header("ce_specversion") == "1.0"
    assert event.header("ce_type") == "segment.refreshed.v1"
    assert event.header("ce_source") == "klaviyo-worker/publish"
    assert event.header("content-type") == "application/json"
    assert data["segment_id"] == SEGMENT
    assert data["trigger"] == "on-demand"
    assert data["full"] is True and data["confirm_removals"] is True
    assert "export_id" not in data


def test_publish_for_an_export_names_it_in_the_event(world: World) -> None:
    world.set_up_export(people.simple(1))

    world.admin("publish", "--export", EXPORT)

    _, data = published(world)
    assert data["export_id"] == EXPORT and data["segment_id"] == SEGMENT
    assert "full" not in data


def test_publish_and_wait_ends_with_the_run(world: World) -> None:
    world.set_up_export(people.simple(25))
    world.start_worker()

    result = world.admin("publish", SEGMENT, "--wait")

    (run,) = world.runs()
    assert run["state"] == "succeeded" and run["trigger"] == "on-demand"
    assert f"run {run['id']} of {EXPORT}: succeeded, 25 read, 25 of 25 accepted" in result.stdout
    assert world.simulator.count(LIST) == 25


def test_publish_and_wait_fails_with_the_run_and_says_why(world: World) -> None:
    world.set_up_export(people.simple(25))
    world.admin("export", "update", EXPORT, "--max-profiles", "20")
    world.start_worker()

    result = world.command("publish", SEGMENT, "--wait")

    assert result.rc == FAILED
    assert "over_profile_limit" in result.stderr and "20" in result.stderr
    # Its letter is there by now, so that the next command can replay it.
    (letter,) = world.admin("dead-letters", "list", "--json").json
    assert letter["reason"] == "over_profile_limit"


def test_publish_and_wait_says_that_the_letter_is_not_there_yet(world: World) -> None:
    world.set_up_export(people.simple(25))
    world.admin("export", "update", EXPORT, "--max-profiles", "20")
    world.start_worker(KAFKA_DEAD_LETTER_TOPIC=f"{world.name}.none")

    result = world.command("publish", SEGMENT, "--wait")

    assert result.rc == FAILED
    assert "over_profile_limit" in result.stderr and "dead letter" in result.stderr


def test_what_nobody_would_do_is_not_published(world: World) -> None:
    world.set_up_export(people.simple(1))

    unknown = world.command("publish", "no-such-segment", "--wait")
    world.admin("export", "pause", EXPORT)
    paused = world.command("publish", SEGMENT)
    paused_export = world.command("publish", "--export", EXPORT)

    assert [unknown.rc, paused.rc, paused_export.rc] == [FAILED] * 3
    assert "no-such-segment" in unknown.stderr
    assert "export resume" in paused_export.stderr
    assert world.end() == 0


def test_segments_and_an_export_exclude_each_other(world: World) -> None:
    both = world.command("publish", SEGMENT, "--export", EXPORT)
    neither = world.command("publish")

    assert both.rc == neither.rc == USAGE


def test_watch_follows_a_run_and_cancel_ends_it(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.settings(**SLOW)
    world.start_worker()
    world.admin("publish", SEGMENT)
    (run,) = wait_until(lambda: world.runs("--state", "running"), 20, "a running run")
    world.wait_requests("import", 1)
    watch = follow(world, "runs", "watch")

    world.admin("runs", "cancel", str(run["id"]))
    out, err = watch.communicate(timeout=30)

    assert watch.returncode == FAILED
    assert f"run {run['id']} of {EXPORT}" in out
    assert "cancelled_by" in err
    ended = world.run(run["id"])
    assert ended["state"] == "cancelled" and ended["reason"] == "cancelled_by"
    assert "postgres" in ended["detail"]
    again = world.command("runs", "cancel", str(run["id"]))
    assert again.rc == FAILED and "has ended already" in again.stderr


def test_who_watches_outlives_a_restart_of_the_database(make_world: MakeWorld, own_postgres: Postgres) -> None:
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(10))
    world.simulator.settings(**SLOW)
    world.start_worker()
    world.admin("publish", SEGMENT)
    (run,) = wait_until(lambda: world.runs("--state", "running"), 20, "a running run")
    watch = follow(world, "runs", "watch")
    assert watch.stdout and f"run {run['id']} of {EXPORT}" in watch.stdout.readline()

    own_postgres.restart("immediate")
    world.admin("runs", "cancel", str(run["id"]))

    _, err = watch.communicate(timeout=30)
    assert watch.returncode == FAILED and "cancelled_by" in err


def test_a_queued_run_is_cancelled_at_once(world: World) -> None:
    world.set_up_export(people.simple(10))
    run_id = world.db.value(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, %s, 'schedule' from klaviyo.export returning run_id",
        CONNECTION,
    )

    world.admin("runs", "cancel", str(run_id))

    assert world.run(run_id)["state"] == "cancelled"


def test_watch_without_a_run_says_so(world: World) -> None:
    result = world.command("runs", "watch")

    assert result.rc == FAILED and "publish" in result.stderr


def test_a_wait_ends_where_its_export_takes_nothing_in_any_more(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.add_export("other")
    waiting = follow(world, "publish", "--export", EXPORT, "--wait")
    wait_until(lambda: world.end() == 1, 30, "the event")
    world.admin("export", "pause", EXPORT)  # before a worker has come

    _, said = waiting.communicate(timeout=60)

    assert waiting.returncode == FAILED
    assert f"export {EXPORT} is paused, its events are ignored" in said, said


def test_an_interrupted_wait_leaves_the_run_alone(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.start_worker()
    waiting = follow(world, "publish", SEGMENT, "--wait")
    wait_until(world.runs, 30, "a run")

    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=10)

    (run,) = world.wait_runs_ended(1)
    assert run["state"] == "succeeded"


def read_terminal(process: subprocess.Popen[bytes], leader: int) -> str:
    """All that the process writes to the terminal until it ends."""
    written = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        written += piece
    process.wait(30)
    os.close(leader)
    return written.decode()


def test_on_a_terminal_the_line_is_drawn_over_and_over(world: World) -> None:
    world.set_up_export(people.simple(25))
    world.start_worker()
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(program("klaviyo-worker")), "publish", SEGMENT, "--wait"],
        env={**world.env(), "TERM": "xterm"},
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
    )
    os.close(follower)

    text = read_terminal(process, leader)

    assert process.returncode == 0, text
    assert "\033[1A" in text and "\r\033[J" in text
    last = text.rstrip().split("\033[K")[-1]
    assert "succeeded, 25 read, 25 of 25 accepted" in last
