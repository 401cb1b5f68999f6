"""One soak for all tests of the folder: SOAK_MINUTES long, with a sample every SOAK_EVERY seconds."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from bench.figures import load, machine
from soak.load import Load
from soak.load import shown as counts_shown
from soak.samples import Sampler

from support.paths import BUILD
from support.process import SLOW_POLL_SECONDS, wait_until
from support.world import Services, World

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
EVERY_SECONDS = float(os.environ.get("SOAK_EVERY", "10"))
PARTITIONS = 6
CALM_SECONDS = 180
FOLDER = BUILD / "test-logs" / "soak"
OPEN_RUNS = "select count(*) from klaviyo.run where state in ('queued', 'running')"


@dataclass(frozen=True)
class Soaked:
    """What is there when the load is over and everything has ended."""

    world: World
    load: Load
    sampler: Sampler


def wait_calm(world: World) -> None:
    world.wait_all_committed(CALM_SECONDS)
    wait_until(lambda: world.db.value(OPEN_RUNS) == 0, 60, "every run to end", SLOW_POLL_SECONDS)


def write_down(found: Soaked, began: float) -> None:
    about = {
        "machine": machine(),
        "preset": os.environ.get("TESTS_PRESET", "dev"),
        "minutes": MINUTES,
        "load_after": load(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "done": dict(found.load.done),
    }
    print(f"\n{counts_shown(found.load.done)}\n{found.sampler.table()}")
    found.sampler.save(BUILD / "reports" / "soak.json", about)


@pytest.fixture(scope="session")
def soaked(shared_services: Services) -> Iterator[Soaked]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    world = World("soak", shared_services, FOLDER, PARTITIONS).prepare()
    world.turn_on_outcomes(PARTITIONS)
    began = time.time()
    try:
        found = Soaked(world, running := Load(world), Sampler(world, running, EVERY_SECONDS))
        running.start()
        found.sampler.start()
        running.run(60 * MINUTES)
        found.sampler.stop()
        running.stop()
        write_down(found, began)
        yield found
    finally:
        world.close()
