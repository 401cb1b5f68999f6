"""Outcome events while workers are killed again and again, and while the broker is away.

OUTCOME_KILLS        how many kills, each with a seed of its own (6; 200 in the long form)
BROKER_AWAY_SECONDS  how long the broker is away at least (0; 600 in the long form)
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from support import people
from support.fail_points import fail_points
from support.kafka_broker import KafkaBroker
from support.outcomes import check_all, ended, ids_of, read
from support.process import wait_until
from support.worker import Worker
from support.world import EXPORT, SEGMENT, MakeWorld, World

KILLS = int(os.environ.get("OUTCOME_KILLS", "6"))
AWAY = int(os.environ.get("BROKER_AWAY_SECONDS", "0"))
SHORT_LEASE = {"LEASE_SECONDS": "2"}
MEMBERS = people.simple(20)
# Tasks, trials and who left have steps of their own, and no outcome.
ELSEWHERE = ("task_", "trial_", "leavers", "fetch_leavers", "claim_list", "release_held")
POINTS = [point for point in fail_points() if not point.startswith(ELSEWHERE)]
# Half of the kills are at the steps that an outcome takes.
OF_OUTCOMES = [p for p in POINTS if "outcomes" in p or p.startswith("end_run")]


# -- kills ---------------------------------------------------------------------------


def succeed(world: World) -> None:
    world.refresh(full=True)


def reject(world: World) -> None:
    world.simulator.control("POST", "rejects", {"emails": [min(MEMBERS.wanted)]})
    world.refresh(full=True)


def fail(world: World) -> None:
    world.simulator.fault("import", {"status": 418}, times=-1)
    world.refresh(full=True)


def cancel(world: World) -> None:
    """What goes on then, or nothing where it has ended already."""
    world.refresh(full=True)
    for (run,) in world.db.rows("select run_id from klaviyo.run where finished_at is null"):
        world.command("runs", "cancel", str(run))


def change(world: World) -> None:
    """Its run is cancelled if one goes on; its event is answered by the next one."""
    world.refresh(full=True)
    world.admin("export", "update", EXPORT, "--max-profiles", str(1000 + len(world.workers)))


ENDINGS = [succeed, reject, fail, cancel, change]


def killed_or_done(world: World, victim: Worker, refreshes: int) -> str:
    """Whether it was killed, or so many refreshes have been answered."""

    def known() -> str:
        if not victim.process.running:
            return "killed"
        ended = world.db.value("select count(*) from klaviyo.request where state <> 'open'")
        return "done" if ended == refreshes else ""

    return wait_until(known, 120, "the worker to be killed or to be done", 0.1)


def kill_one(world: World, seed: int) -> str:
    """A worker that takes over from the last one dies somewhere; says where."""
    chance = random.Random(seed)
    point = chance.choice(OF_OUTCOMES if chance.random() < 0.5 else POINTS)
    hit = chance.randint(1, 3)
    world.simulator.clear_faults()
    victim = world.start_worker(**SHORT_LEASE, KLAVIYO_FAILPOINT=f"{point}:{hit}")
    chance.choice(ENDINGS)(world)
    if killed_or_done(world, victim, seed + 1) == "killed":
        assert victim.process.exit_status == -signal.SIGKILL, victim.log.read_text()[-2000:]
        return point
    time.sleep(chance.random())
    victim.kill()
    return "done"


def note_heard(world: World, seen: int) -> int:
    """While nobody works: what was heard is as it should be, and its runs have ended."""
    records = world.outcomes()
    early = ids_of(records[seen:]) - ended(world)
    assert not early, f"heard before their end was committed: {early}"
    return len(records)


@pytest.mark.timeout(120 + 40 * KILLS)
def test_whoever_dies_each_run_that_ends_is_heard_with_one_id(world: World) -> None:
    world.turn_on_outcomes()
    world.set_up_export(MEMBERS)
    seen = 0
    died_at = []
    for seed in range(KILLS):
        died_at.append(kill_one(world, seed))
        seen = note_heard(world, seen)

    world.simulator.clear_faults()
    world.start_worker(**SHORT_LEASE).wait_ready()
    world.wait_all_committed(60)
    world.wait_runs_ended(1)
    records = world.wait_outcomes_sent(60)

    check_all(world, records)
    killed = [point for point in died_at if point != "done"]
    assert killed, "nobody was killed at a step"
    print(
        f"\n{KILLS} kills, {len(killed)} of them at {len(set(killed))} of {len(POINTS)} steps:"
        f" {len(ids_of(records))} runs ended, {len(records)} outcomes heard",
        end="",
    )


# -- the broker is away ----------------------------------------------------------------

# One run after the other, so that some end all the time that nobody is told.
RUNS = 1 + AWAY // 60
JOB_SECONDS = 45 if AWAY else 1
RUN_SECONDS = 3 * JOB_SECONDS + 30  # on a machine that stands still for the length of a lease


@pytest.mark.timeout(240 + AWAY + RUNS * RUN_SECONDS)
def test_a_broker_that_is_away_delays_outcomes_and_no_run(
    make_world: MakeWorld, own_kafka: KafkaBroker
) -> None:
    world = make_world(kafka=own_kafka)
    world.turn_on_outcomes()
    world.set_up_export(MEMBERS)
    for n in range(1, RUNS):
        world.add_export(f"{EXPORT}-{n}")
    world.simulator.settings(queued_ms=50, processing_ms=JOB_SECONDS * 1000)
    world.simulator.fault("import", {"status": 503}, times=-1)
    worker = world.start_worker(MAX_RUNS="1").wait_ready()
    world.refresh(SEGMENT, refresh_id="late")
    world.wait_requests("import", 1)
    wait_until(lambda: len(world.runs()) == RUNS, 20, "the runs to be queued")
    own_kafka.kill()
    gone = time.time()

    world.simulator.clear_faults()
    world.wait_runs_ended(RUNS, RUNS * RUN_SECONDS + 30)
    check_none_waited(world, gone)
    assert world.db.value("select count(*) from klaviyo.outcome") == RUNS
    wait_until(lambda: worker.events("outcomes_waiting"), 60, "it to be said")
    wait_until(lambda: time.time() - gone >= AWAY, AWAY + 1, "the time to be over", 1)

    own_kafka.start()
    own_kafka.wait_ready()
    back = time.time()
    records = world.wait_outcomes_sent(60)
    print(
        f"\nbroker away for {back - gone:.0f} s: {RUNS} runs ended in it,"
        f" {len(records)} outcomes {time.time() - back:.1f} s after it was back",
        end="",
    )
    check_all(world, records)
    assert all(read(record)["refresh_ids"] == ["late"] for record in records)
    world.wait_all_committed(60)


def check_none_waited(world: World, gone: float) -> None:
    """Each run has succeeded, and has ended soon after the one before it."""
    ends = world.db.rows(
        "select state, extract(epoch from finished_at)::float8 from klaviyo.run order by 2"
    )
    assert {state for state, _ in ends} == {"succeeded"}
    moments = [gone, *(end for _, end in ends)]
    longest = max(after - before for before, after in zip(moments, moments[1:], strict=False))
    print(f"\nthe longest time between two ends: {longest:.1f} s, a job takes {JOB_SECONDS} s", end="")
    assert longest <= RUN_SECONDS, moments
