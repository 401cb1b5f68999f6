"""A worker is killed around every durable step. The list is right; little is sent again.

The steps are found in the source: a fail point that is added is tested.
"""

from __future__ import annotations

import random
import re
import signal
import time

import pytest

from support import events, people
from support.paths import TREE
from support.process import wait_until
from support.worker import Worker
from support.world import LIST, SEGMENT, World, check_sums

ROWS = 25_000
BATCH_ROWS = 10_000
BATCHES_IN_FLIGHT = 5
SHORT_LEASE = {"LEASE_SECONDS": "2"}

OF_BATCHES = {"plan_batch", "request", "answer", "mark_sent", "confirm"}
AROUND = re.compile(r'FAILPOINT_AROUND\("(\w+)"')
SINGLE = re.compile(r'FAILPOINT\("([\w.]+)"\)')


def fail_points() -> list[str]:
    found: set[str] = set()
    for source in (TREE / "worker").rglob("*.c"):
        text = source.read_text()
        found |= set(SINGLE.findall(text))
        for name in AROUND.findall(text):
            found |= {f"{name}.before", f"{name}.after"}
    return sorted(found)


def people_with_trouble(world: World) -> people.Population:
    """One batch is cancelled, one is split for a refused row, some rows are bad."""
    maker = people.Maker()
    maker.valid(ROWS)
    maker.duplicates(20)
    maker.malformed(5)
    refused = sorted(maker.population.wanted)[ROWS // 2]
    world.simulator.control("POST", "rejects", {"emails": [refused], "stage": "sync"})
    world.simulator.fault("import", {"job": "cancelled"}, times=1)
    maker.population.wanted.pop(refused)
    return maker.population


def finished_jobs(world: World) -> set[str]:
    found = world.db.rows("select job_id from klaviyo.batch where state = 'complete'")
    return {job for (job,) in found}


def every_hit() -> list[tuple[str, int]]:
    """The first time at each point; the second, too, where batches come by."""
    points = fail_points()
    return [(point, 1) for point in points] + [
        (point, 2) for point in points if point.split(".")[0] in OF_BATCHES
    ]


@pytest.mark.parametrize(("point", "hit"), every_hit())
def test_a_kill_at_any_step_loses_nothing(world: World, point: str, hit: int) -> None:
    population = people_with_trouble(world)
    world.set_up_export(population)
    victim = world.start_worker(**SHORT_LEASE, KLAVIYO_FAILPOINT=f"{point}:{hit}")
    world.publish(events.Message(b"no event", {}, b"x"), events.binary(SEGMENT))
    assert killed_or_done(world, victim), "this run never comes past there: make it"
    finished = finished_jobs(world)
    accepted = world.runs()[0]["counts"]["accepted"] if world.runs() else 0
    seen = world.simulator.diary()

    heir = world.start_worker(**SHORT_LEASE)
    run = world.wait_runs_ended(1, 60)[0]
    world.wait_all_committed()

    assert run["state"] == "succeeded_with_rejections", run
    check_sums(run)
    assert (run["counts"]["accepted"], run["counts"]["rejected"]) == (ROWS - 1, 1)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    assert len(world.dead_letters()) in ((1, 2) if "mark_dead_lettered" in point else (1,))
    after = world.simulator.diary(after=seen[-1]["seq"] if seen else 0)
    asked = [e for e in after if e["endpoint"] == "job" and e["path"].rsplit("/")[-1] in finished]
    assert asked == [], "a job whose end is recorded was asked for again"
    sent = sum(e["profiles"] for e in after if e["endpoint"] == "import" and e["status"] == 202)
    # The cancelled batch goes again. A machine that stood still for the length of the short
    # lease has had the run taken once more.
    more_takes = max(0, len(heir.events("run_taken")) - 1)
    again = BATCH_ROWS + more_takes * BATCHES_IN_FLIGHT * BATCH_ROWS
    assert sent <= ROWS - accepted + again, "confirmed rows were sent again"


def killed_or_done(world: World, victim: Worker) -> bool:
    """Whether the fail point killed it, rather than the work coming to its end."""

    def known() -> str:
        if not victim.process.running:
            return "killed"
        if world.committed() == world.end():
            return "done"
        return ""

    answer = wait_until(known, 60, "the worker to be killed or to be done", 0.2)
    if answer == "killed":
        assert victim.process.exit_status == -signal.SIGKILL, victim.log.read_text()[-2000:]
    return answer == "killed"


@pytest.mark.timeout(300)
def test_ten_kills_at_random_moments_lose_nothing(world: World) -> None:
    chance = random.Random(20261124)
    kills = 10
    population = people.simple(60_000)
    world.set_up_export(population)
    world.simulator.settings(queued_ms=100, processing_ms=300)
    world.start_worker(**SHORT_LEASE)
    world.refresh()

    for _ in range(kills):
        kill_at_a_random_moment(world, chance)
        world.start_worker(**SHORT_LEASE)
        if world.committed():
            world.refresh(full=True)

    run = world.wait_runs_ended(1, 100)[0]
    world.wait_all_committed()
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    runs = world.runs()
    sent = sum(e["profiles"] for e in world.simulator.diary("import"))
    assert sent <= len(runs) * 60_000 + kills * BATCHES_IN_FLIGHT * BATCH_ROWS


def kill_at_a_random_moment(world: World, chance: random.Random) -> None:
    """After the next request, or a few, and some fraction of a second."""
    seen = len(world.simulator.diary())
    wanted = seen + chance.randint(1, 8)
    moment = chance.random() * 0.4
    wait_until(
        lambda: len(world.simulator.diary()) >= wanted or world.committed() == world.end(),
        30,
        "something to happen",
    )
    time.sleep(moment)
    world.workers[-1].kill()
