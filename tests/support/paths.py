"""Where things stand in the tree and in the build."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TESTS_BUILD", TREE / "build"))
# The build whose programs are tested; tests/run chooses.
PRESET = os.environ.get("TESTS_PRESET", "dev")


def program(name: str) -> Path:
    """A program of the build under test."""
    found = [
        path for path in (BUILD / PRESET).rglob(name) if path.is_file() and os.access(path, os.X_OK)
    ]
    assert found, f"{name} is not built in {BUILD / PRESET}: run tests/run"
    return found[0]


def tool(name: str) -> Path:
    """A program that tests/run fetched for the tests alone."""
    path = BUILD / "tools" / name
    assert path.exists(), f"{path} is missing: run tests/run"
    return path


def copied_program(path: Path, folder: Path) -> Path:
    """A copy that every user may run who may enter the folder: the tree itself may be closed to others."""
    copied = folder / path.name
    shutil.copyfile(path, copied)
    copied.chmod(0o755)
    return copied


def postgres_program(name: str) -> Path:
    """A program of the newest PostgreSQL server installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    found = [folder / name for folder in versions if (folder / name).exists()]
    assert found, f"no PostgreSQL server with {name} in /usr/lib/postgresql"
    return found[-1]
