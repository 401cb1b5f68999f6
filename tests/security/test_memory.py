"""A key that a run was done with is in the worker's memory no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import people
from support.process import wait_until
from support.world import KEY, World


def copies_of(secret: bytes, pid: int) -> int:
    """How often it stands in what the process has written to; not in libraries or files."""
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


def test_no_key_is_left_in_memory_once_its_run_has_ended(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.settings(queued_ms=1500)
    worker = world.start_worker()
    worker.wait_ready()
    try:
        assert copies_of(KEY.encode(), worker.process.pid) == 0
    except PermissionError:
        pytest.skip("this user may not read the memory of its processes")
    world.refresh()
    wait_until(lambda: copies_of(KEY.encode(), worker.process.pid) > 0, 20, "the key to be opened", 0.1)

    world.wait_runs_ended(1)

    wait_until(lambda: copies_of(KEY.encode(), worker.process.pid) == 0, 10, "the key to be wiped", 0.2)
