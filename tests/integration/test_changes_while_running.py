"""Exports that are changed, paused or removed in the middle of their runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support import events, people
from support.process import wait_until
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, World, check_sums

OTHER_LIST = "ListB2"
SLOW = {"queued_ms": 200, "processing_ms": 3_000}


def begin_run(world: World, count: int = 50) -> dict[str, Any]:
    """A run that has sent its request and waits for the job."""
    world.set_up_export(people.simple(count))
    world.simulator.add_list(OTHER_LIST, ACCOUNT, "Other")
    world.simulator.settings(**SLOW)
    world.start_worker()
    world.refresh()
    world.wait_requests("import", 1)
    (run,) = wait_until(lambda: world.runs("--state", "running"), 20, "a running run")
    return run


def wait_state(world: World, run_id: int, state: str) -> dict[str, Any]:
    return wait_until(
        lambda: (run := world.run(run_id))["state"] == state and run, 30, f"run {run_id} {state}"
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["remove"], "export_removed"), (["pause"], "export_paused")],
    ids=["remove", "pause"],
)
def test_a_run_ends_with_its_export(world: World, words: list[str], reason: str) -> None:
    run = begin_run(world)
    owner = "select take_id from klaviyo.run where run_id = %s"
    before = world.db.value(owner, run["id"])

    world.admin("export", *words, EXPORT)

    assert world.db.value(owner, run["id"]) != before  # what its worker still writes is for nobody
    ended = world.run(run["id"])
    assert ended["state"] == "cancelled" and ended["reason"] == reason
    assert ended["finished_at"] and "postgres" in ended["detail"]
    world.wait_all_committed()
    assert world.dead_letters() == []


def test_what_is_remembered_goes_with_the_export(world: World) -> None:
    run = begin_run(world)
    wait_state(world, run["id"], "succeeded")

    world.admin("export", "remove", EXPORT)

    for table in ("ledger", "batch", "rejection", "export_segment", "export_field"):
        assert world.db.value(f"select count(*) from klaviyo.{table}") == 0, table
    assert world.run(run["id"])["export"] == EXPORT
    assert world.simulator.count(LIST) == 50


def test_a_changed_list_gets_everybody_by_the_next_run(world: World) -> None:
    run = begin_run(world)

    world.admin("export", "update", EXPORT, "--list", OTHER_LIST)

    assert world.run(run["id"])["reason"] == "export_changed"
    newest, oldest = world.wait_runs_ended(2)
    assert oldest["state"] == "cancelled" and newest["state"] == "succeeded"
    assert (oldest["events"], newest["events"]) == (0, 1)
    check_sums(newest)
    assert newest["counts"]["selected"] == 50 == world.simulator.count(OTHER_LIST)
    world.wait_all_committed()


def test_a_changed_mapping_sends_everybody_again(world: World) -> None:
    run = begin_run(world)
    wait_state(world, run["id"], "succeeded")

    before = world.admin("export", "show", EXPORT, "--json").json
    world.admin("export", "update", EXPORT, "--property", "points=points")
    after = world.admin("export", "show", EXPORT, "--json").json
    assert after["changed_at"] > before["changed_at"]
    assert after["properties"] == {"points": "points"} and after["attributes"] is None
    world.admin("publish", SEGMENT, "--wait")

    newest = world.runs()[0]
    assert newest["counts"]["selected"] == 50 and newest["counts"]["unchanged"] == 0


def test_a_changed_limit_keeps_what_was_sent(world: World) -> None:
    run = begin_run(world)
    wait_state(world, run["id"], "succeeded")

    world.admin("export", "update", EXPORT, "--max-profiles", "60")
    world.admin("publish", SEGMENT, "--wait")

    assert world.runs()[0]["counts"]["unchanged"] == 50


def test_a_paused_export_ignores_events_until_it_is_resumed(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker()
    world.admin("export", "pause", EXPORT)
    world.refresh()
    world.wait_all_committed()
    assert world.runs() == []

    world.admin("export", "resume", EXPORT)
    world.admin("publish", "--export", EXPORT, "--wait")

    assert world.simulator.count(LIST) == 5


def test_changes_that_come_thick_and_fast_leave_a_full_list(world: World) -> None:
    world.set_up_export(people.simple(3_000))
    world.simulator.add_list(OTHER_LIST, ACCOUNT, "Other")
    worker = world.start_worker()
    for n in range(12):
        world.refresh()
        target = OTHER_LIST if n % 2 else LIST
        world.admin("export", "update", EXPORT, "--list", target)

    world.admin("publish", SEGMENT, "--wait")

    assert world.simulator.count(OTHER_LIST) == 3_000
    world.wait_all_committed()
    assert world.db.value("select count(*) from klaviyo.ledger") == 3_000
    assert "40P01" not in worker.log.read_text()


def test_a_refused_key_is_marked_and_a_new_one_heals(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.simulator.remove_key(KEY)

    refused = world.command("connection", "verify", "main")

    assert refused.rc == 1 and "needs attention" in refused.stderr
    assert world.admin("connection", "list", "--json").json[0]["state"] == "needs attention"
    world.start_worker()
    failed = world.command("publish", SEGMENT, "--wait")
    assert failed.rc == 1 and "connection_needs_attention" in failed.stderr

    new_key = KEY + "new"
    world.simulator.add_key(new_key, ACCOUNT)
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=new_key)
    assert world.admin("connection", "list", "--json").json[0]["state"] == "ready"
    world.admin("publish", SEGMENT, "--wait")
    assert world.simulator.count(LIST) == 5


@contextmanager
def steady_refreshes(world: World) -> Iterator[None]:
    over = threading.Event()

    def refresh() -> None:
        while not over.wait(0.2):
            world.publish(*[events.binary(SEGMENT) for _ in range(5)])

    publisher = threading.Thread(target=refresh)
    publisher.start()
    try:
        yield
    finally:
        over.set()
        publisher.join()


def test_exports_that_come_and_go_while_events_arrive(world: World) -> None:
    """An event may name an export that is gone in the next moment."""
    world.add_segment(SEGMENT, people.simple(20))
    world.add_connection()
    worker = world.start_worker()
    with steady_refreshes(world):
        for _ in range(15):
            world.add_export()
            world.admin("export", "pause", EXPORT)
            world.admin("export", "resume", EXPORT)
            world.admin("export", "remove", EXPORT)

    world.add_export()
    world.admin("publish", SEGMENT, "--full", "--wait")

    world.wait_all_committed()
    assert world.dead_letters() == []
    # Neither an export that is not there, nor two who wait for each other.
    for sqlstate in ("23503", "40P01"):
        assert sqlstate not in worker.log.read_text()


def list_is_asked(world: World) -> bool:
    """Klaviyo has the question for a list's name, and has not answered it."""
    (fault,) = world.simulator.control("GET", "faults")["faults"]
    return bool(fault["hits"] == 1)


def move(world: World, column: str) -> None:
    """To another list, or to the same one of another account; paused, so that nobody asks again."""
    world.simulator.add_list(OTHER_LIST, ACCOUNT, "Other")
    moved = {"list_id": f"'{OTHER_LIST}'", "connection_id": "(select max(connection_id) from klaviyo.connection)"}
    world.db.execute(f"update klaviyo.export set {column} = {moved[column]}, paused = true")


@pytest.mark.parametrize("column", ["list_id", "connection_id"])
@pytest.mark.parametrize("asking", ["run", "verify"])
def test_the_name_of_the_old_list_is_not_stored_for_the_new_one(world: World, asking: str, column: str) -> None:
    world.set_up_export(people.simple(5))
    world.add_connection("other")
    world.simulator.settings(**SLOW)
    world.simulator.fault("list", {"delay_ms": 500})
    # Of a lease of a minute a run renews, and hears that it is over, after the answer.
    worker = world.start_worker(LEASE_SECONDS="60")
    worker.wait_ready()
    verifying = threading.Thread(target=lambda: world.command("connection", "verify", CONNECTION))
    if asking == "verify":
        verifying.start()
    else:
        world.refresh()
    wait_until(lambda: list_is_asked(world), 30, "the question for the list's name")

    move(world, column)

    if asking == "verify":
        verifying.join()
    else:
        worker.wait_for_event("run_ended", 30)
        (answered,) = world.simulator.diary("list")
        assert answered["status"] == 200
    assert world.db.rows("select list_name, list_checked_at from klaviyo.export") == [(None, None)]
