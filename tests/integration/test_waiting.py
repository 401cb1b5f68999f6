"""Runs that cannot go on say so, and do not keep others from going on."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from support import people
from support.process import wait_until
from support.world import ACCOUNT, EXPORT, KEY, LIST, World, check_sums

OTHER_ACCOUNT = "AcctB1"
OTHER_KEY = "pk_planted0secret0key0of0account0B1"
OTHER_LIST = "ListB1"
OTHER_SEGMENT = "others"


def wait_state(world: World, state: str, seconds: float = 30) -> dict[str, Any]:
    return wait_until(lambda: (found := world.runs("--state", state)) and found[0], seconds, state)


def test_an_outage_is_said_within_five_seconds(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.fault("import", {"status": 503}, times=-1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    began = time.monotonic()

    run = wait_state(world, "waiting")

    assert time.monotonic() - began < 5
    assert run["reason"] == "klaviyo_unavailable"
    assert "503" in run["detail"] and "since 20" in run["detail"]
    shown = world.admin("runs", "show", str(run["id"]), "--json").json
    assert (shown["state"], shown["reason"]) == ("waiting", "klaviyo_unavailable")
    assert "klaviyo_unavailable" in world.admin("runs", "list").stdout
    # It stays so while it tries again, with and without a slot.
    for _ in range(10):
        assert world.runs()[0]["state"] == "waiting"
        time.sleep(0.5)
    (waiting,) = worker.events("run_waiting")
    assert (waiting["level"], waiting["reason"]) == ("info", "klaviyo_unavailable")

    world.simulator.clear_faults()
    world.wait_runs_ended(1, 90)
    ended = world.runs()[0]
    assert (ended["state"], ended["reason"]) == ("succeeded", None)
    assert len(worker.events("run_resumed")) == 1
    assert len(worker.events("run_taken")) == 1


def test_a_limit_is_said_with_its_end(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.fault("import", {"throttle": 8}, times=1)
    world.start_worker().wait_ready()
    world.refresh()

    run = wait_state(world, "waiting")

    assert run["reason"] == "rate_limited" and run["waiting_until"]
    assert "429" in run["detail"]
    (run,) = world.wait_runs_ended(1)
    assert run["state"] == "succeeded"
    check_sums(run)  # who goes on with a parked run has read nobody, and leaves the counts alone
    assert run["counts"]["read"] == 50
    early = [entry for entry in world.simulator.diary("import") if entry["early"]]
    assert early == []


def add_others(world: World) -> None:
    """Another account, with an export of its own."""
    world.simulator.add_account(OTHER_ACCOUNT)
    world.simulator.add_key(OTHER_KEY, OTHER_ACCOUNT)
    world.simulator.add_list(OTHER_LIST, OTHER_ACCOUNT, "Others")
    world.db.execute("insert into insights.segment (segment_id, name) values ('others', 'Others')")
    world.db.execute(
        "insert into insights.segment_member (segment_id, profile_id)"
        " select 'others', profile_id from insights.segment_member"
    )
    world.add_connection("other", OTHER_KEY)
    world.add_export("others", segments=(OTHER_SEGMENT,), list_id=OTHER_LIST, connection="other")


def busy_account(world: World, exports: int) -> None:
    world.set_up_export(people.simple(20))
    for number in range(exports - 1):
        world.add_export(f"more-{number}")
    add_others(world)


def others_are_served(world: World) -> float:
    began = time.monotonic()
    world.refresh(OTHER_SEGMENT)
    wait_until(
        lambda: [run for run in world.runs("--export", "others") if run["state"] == "succeeded"],
        60,
        "the other account's run",
    )
    return time.monotonic() - began


def test_an_account_that_is_throttled_keeps_nobody_out(world: World) -> None:
    busy_account(world, 4)
    world.simulator.fault("import", {"throttle": 40}, key=KEY, times=-1)
    world.start_worker(MAX_RUNS="2").wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    wait_state(world, "waiting")

    assert others_are_served(world) < 15

    states = {run["export"]: run["state"] for run in world.runs()}
    assert states[EXPORT] in ("waiting", "queued", "running")
    world.simulator.clear_faults()
    world.wait_runs_ended(5, 120)
    assert {run["state"] for run in world.runs()} == {"succeeded"}
    assert world.simulator.count(LIST) == 20


def test_a_guard_that_waits_for_klaviyo_keeps_nobody_out(world: World) -> None:
    busy_account(world, 1)
    world.simulator.control("PUT", f"keys/{KEY}", {"account": ACCOUNT, "scopes": "all"})
    world.admin("export", "update", EXPORT, "--plan", "stop")
    world.simulator.fault("usage", {"throttle": 25}, key=KEY, times=1)
    world.start_worker(MAX_RUNS="1").wait_ready()
    world.refresh()
    world.wait_requests("usage", 1)

    run = wait_state(world, "waiting")

    assert run["reason"] == "rate_limited"
    assert others_are_served(world) < 15
    assert not [run for run in world.runs("--export", EXPORT) if run["counts"]["accepted"]]
    world.wait_runs_ended(2, 90)
    assert {run["state"] for run in world.runs()} == {"succeeded"}
    assert [entry["status"] for entry in world.simulator.diary("usage")] == [429, 200]


def test_an_account_that_is_down_keeps_nobody_out(world: World) -> None:
    busy_account(world, 4)
    world.simulator.fault("import", {"status": 503}, key=KEY, times=-1)
    world.start_worker(MAX_RUNS="2").wait_ready()
    world.refresh()
    world.wait_requests("import", 4)

    assert others_are_served(world) < 15


def test_a_limit_without_an_end_does_not_keep_the_only_slot(world: World) -> None:
    busy_account(world, 1)
    world.simulator.fault("import", {"status": 429}, key=KEY, times=-1)
    worker = world.start_worker(MAX_RUNS="1").wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    began = time.monotonic()

    run = wait_state(world, "waiting")

    assert time.monotonic() - began < 5
    assert run["reason"] == "rate_limited" and "429" in run["detail"]
    assert others_are_served(world) < 10
    states = {run["export"]: (run["state"], run["reason"]) for run in world.runs()}
    assert states[EXPORT] == ("waiting", "rate_limited")
    assert {e["reason"] for e in worker.events("run_waiting")} == {"rate_limited"}
    assert len(worker.events("run_resumed")) <= 1, "in its first second it may go on once"
    world.simulator.clear_faults()
    world.wait_runs_ended(2, 90)
    assert {run["state"] for run in world.runs()} == {"succeeded"}


def test_a_klaviyo_that_hangs_after_it_answered_does_not_keep_the_only_slot(world: World) -> None:
    busy_account(world, 1)
    world.simulator.fault("job", {"delay_ms": 600_000}, key=KEY, times=-1)
    worker = world.start_worker(MAX_RUNS="1", REQUEST_TIMEOUT_SECONDS="6").wait_ready()
    world.refresh()
    worker.wait_for_event("batch_sent", 30)
    began = time.monotonic()

    run = wait_state(world, "waiting")

    assert time.monotonic() - began < 1.5 + 5  # until the first look at the job, and after it
    assert run["reason"] == "klaviyo_unavailable"
    assert others_are_served(world) < 15


def test_an_account_that_is_slow_keeps_nobody_out(world: World) -> None:
    busy_account(world, 4)
    world.simulator.fault("import", {"delay_ms": 20_000}, key=KEY, times=-1)
    world.start_worker(MAX_RUNS="3").wait_ready()
    world.refresh()
    wait_until(lambda: len(world.runs("--state", "running")) >= 2, 20, "two slow runs")

    assert others_are_served(world) < 10


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_parking_loses_nothing(world: World, moment: str) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.simulator.fault("import", {"throttle": 5}, times=1)
    victim = world.start_worker(LEASE_SECONDS="2", KLAVIYO_FAILPOINT=f"park.{moment}").wait_ready()
    world.refresh()
    assert victim.process.wait(30) == -signal.SIGKILL

    world.start_worker(LEASE_SECONDS="2")
    (run,) = world.wait_runs_ended(1)

    assert run["state"] == "succeeded", run
    world.wait_all_committed()
    assert world.simulator.emails(LIST) == population.wanted.keys()
    statuses = [e["status"] for e in world.simulator.diary("import")]
    assert statuses == [429, 202]


def test_a_parked_run_can_be_cancelled(world: World) -> None:
    world.set_up_export(people.simple(20))
    world.simulator.fault("import", {"throttle": 60}, times=1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: worker.events("run_parked"), 20, "the run to be parked")

    world.admin("runs", "cancel", str(world.runs()[0]["id"]))

    world.wait_runs_ended(1, 5)
    assert world.runs()[0]["state"] == "cancelled"


def test_no_slot_stays_free_while_a_parked_run_could_use_it(world: World) -> None:
    """A queued run that the last free slot is not for holds up nobody."""
    busy_account(world, 1)
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state,"
        " started_at, finished_at)"
        " select export_id, name, 'other', 'schedule', 'succeeded', now() - interval '1 hour', now()"
        " from klaviyo.export where name = 'others'"
    )
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, 'other', 'schedule' from klaviyo.export where name = 'others'"
    )
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, worker,"
        " started_at, lease_until, taken_at, parked_until, wait_reason)"
        " select export_id, name, 'shop', 'schedule', 'running', 'w', now(), now(), now(),"
        " now() - interval '1 s', 'rate_limited' from klaviyo.export where name = %s",
        EXPORT,
    )
    pair = world.db.value("select max(key_pair_id) from klaviyo.key_pair")

    def taken(short_only: bool) -> list[str]:
        return [
            row[0]
            for row in world.db.rows(
                "select r.export_name from klaviyo.take_run('w', 15000, %s, true, %s) t"
                " join klaviyo.run r using (run_id)",
                pair,
                short_only,
            )
        ]

    assert taken(True) == [EXPORT]
    assert taken(False) == ["others"]


def make_an_hour_older(world: World) -> None:
    world.db.execute("update klaviyo.run set queued_at = queued_at - interval '1 hour'")


def test_a_run_that_waits_for_the_one_before_it_is_none_that_a_slot_should_have_taken(world: World) -> None:
    world.set_up_export(people.simple(20))
    world.simulator.fault("import", {"throttle": 3600}, times=1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    wait_state(world, "waiting")
    world.refresh()
    wait_state(world, "queued")
    make_an_hour_older(world)
    wait_until(lambda: worker.metric("oldest_queued_run_age_seconds") >= 3600, 20, "its age to be seen")
    assert worker.metric("oldest_startable_run_age_seconds") == 0

    # One that waits for no run, but for a worker with the newest key file.
    world.admin("keygen", "--replace", "--out", str(world.folder / "new.key"))
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=KEY)
    world.add_export("more")
    world.refresh()
    wait_until(lambda: len(world.runs("--state", "queued")) == 2, 30, "a run of each export")
    assert worker.metric("oldest_startable_run_age_seconds") < 3600
    make_an_hour_older(world)
    wait_until(lambda: worker.metric("oldest_startable_run_age_seconds") >= 3600, 20, "its age to be seen")
