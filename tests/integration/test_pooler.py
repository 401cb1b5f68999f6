"""Behind a pooler in transaction mode, however few connections it has, no run starves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import people
from support.pgbouncer import PgBouncer
from support.process import wait_until
from support.world import ACCOUNT, SEGMENT, World, check_sums

MakePooler = Callable[[int], PgBouncer]
EXPORTS = 6


@pytest.fixture
def make_pooler(world: World, own_folder: Path) -> Iterator[MakePooler]:
    made: list[PgBouncer] = []

    def make(size: int) -> PgBouncer:
        made.append(PgBouncer(own_folder, world.postgres, size))
        return made[-1]

    yield make
    for pooler in made:
        pooler.stop()


def add_exports(world: World, count: int, population: people.Population) -> None:
    world.add_segment(SEGMENT, population)
    world.add_connection()
    for n in range(count):
        world.simulator.add_list(f"List{n}", ACCOUNT, f"List {n}")
        world.add_export(f"export-{n}", list_id=f"List{n}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [3, 4])
def test_many_runs_at_once_share_a_small_pool_and_all_succeed(
    world: World, make_pooler: MakePooler, size: int
) -> None:
    pooler = make_pooler(size)
    add_exports(world, EXPORTS, people.simple(12_000))
    for _ in range(2):
        world.start_worker(
            DATABASE_URL=pooler.url(world.db.name), MAX_RUNS=str(EXPORTS), LEASE_SECONDS="5"
        ).wait_ready()
    world.refresh()

    runs = world.wait_runs_ended(EXPORTS, 180)

    for run in runs:
        assert run["state"] == "succeeded", run
        check_sums(run)
    world.wait_all_committed()
    assert world.dead_letters() == []
    assert world.db.value("select max(takes_without_progress) from klaviyo.run") == 0


@pytest.mark.timeout(240)
def test_a_pool_that_is_too_small_makes_runs_wait_and_ends_none(
    world: World, make_pooler: MakePooler, own_folder: Path
) -> None:
    pooler = make_pooler(2)
    add_exports(world, 2, people.simple(100))
    worker = world.start_worker(
        DATABASE_URL=pooler.url(world.db.name), LEASE_SECONDS="2"
    ).wait_ready()
    world.refresh()

    said = worker.wait_for_event("plan_waits_for_connections", 60)
    assert said["level"] == "warn"
    # Not a pause to be safe: five takes in vain would have passed by then.
    time.sleep(15)
    for run in world.runs():
        assert run["state"] == "waiting" and run["reason"] == "database_unavailable", run
    # Each tries and says so itself: none of them waits for another one's attempts.
    assert {e["run"] for e in worker.events("plan_waits_for_connections")} == {1, 2}
    assert world.db.value("select max(takes_without_progress) from klaviyo.run") == 0
    worker.stop()

    larger = PgBouncer(folder_next_to(own_folder), world.postgres, 4)
    try:
        world.start_worker(DATABASE_URL=larger.url(world.db.name))
        for run in world.wait_runs_ended(2):
            assert run["state"] == "succeeded", run
    finally:
        wait_until(lambda: world.committed() == world.end(), 30, "the event to be committed")
        larger.stop()


def folder_next_to(folder: Path) -> Path:
    sibling = folder / "larger"
    sibling.mkdir()
    return sibling
