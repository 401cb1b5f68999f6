"""A key that a run or a task was done with is in the worker's memory no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from support import people
from support.process import wait_until
from support.root import where_allowed
from support.worker import Result, Worker
from support.world import CONNECTION, KEY, World


def copies_of(secret: bytes, worker: Worker) -> int:
    """How often it stands in what the process has written to; not in libraries or files."""
    pid = worker.process.pid
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
            if not match or not match[3].startswith("rw"):
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            if end - start > 1 << 32:
                continue  # the sanitizer's shadow
            memory.seek(start)
            try:
                found += memory.read(end - start).count(secret)
            except OSError:
                continue  # a guard page
    return found


def start(world: World) -> Worker:
    worker = world.start_worker().wait_ready()
    with where_allowed("the memory of a process"):
        assert copies_of(KEY.encode(), worker) == 0
    return worker


def check_wiped(world: World, worker: Worker, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Klaviyo does not answer until the key was seen."""
    world.simulator.freeze()
    begin()
    wait_until(lambda: copies_of(KEY.encode(), worker) > 0, 60, "the key to be opened", 0.1)
    world.simulator.thaw()
    end()
    wait_until(lambda: copies_of(KEY.encode(), worker) == 0, 30, "the key to be wiped", 0.2)


def test_no_key_is_left_in_memory_once_its_run_has_ended(world: World) -> None:
    world.set_up_export(people.simple(50))
    worker = start(world)

    check_wiped(world, worker, world.refresh, lambda: world.wait_runs_ended(1))


def test_nor_once_what_a_person_asked_for_is_done(world: World) -> None:
    world.set_up_export(people.simple(1))
    worker = start(world)
    served = "select count(*) from klaviyo.task_worker"
    wait_until(lambda: world.db.value(served) != 0, 20, "a worker that takes tasks")

    with ThreadPoolExecutor(1) as pool:
        asked: list[Future[Result]] = []
        verify = ("connection", "verify", CONNECTION)
        check_wiped(
            world, worker, lambda: asked.append(pool.submit(world.admin, *verify)), lambda: asked[0].result()
        )
    assert worker.events("task_ended")
