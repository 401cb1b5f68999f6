"""Measurements are in bench_*.py; a session prints one table and writes build/bench/figures.json."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from support.paths import BUILD

from bench.figures import Figures, load, machine


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    found = Figures()
    about = {
        "machine": machine(),
        "preset": os.environ.get("TESTS_PRESET", "dev"),
        "load_before": load(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    yield found
    about["load_after"] = load()
    print(f"\n{about}\n{found.table()}")
    found.save(BUILD / "bench" / "figures.json", about)
