"""Measurements are in bench_*.py; a session prints one table and writes build/bench/figures.json."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import BUILD

from bench.figures import Figures, load, machine


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    named = parent.session.isinitpath(file_path)  # then pytest collects it anyway
    if file_path.suffix == ".py" and file_path.name.startswith("bench_") and not named:
        return pytest.Module.from_parent(parent, path=file_path)
    return None


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
