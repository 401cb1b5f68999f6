"""The program as it is shipped: the release preset, with the prefix of a package."""

from __future__ import annotations

import fcntl
import os
import subprocess
from functools import cache
from pathlib import Path

from support.paths import BUILD, TREE

FOLDER = BUILD / "package"
COMPILE_SECONDS = 1200  # what a test's time-out must allow


def run(*command: str | Path, cwd: Path = TREE, env: dict[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        list(command), cwd=cwd, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@cache
def compiled() -> Path:
    """The folder of the build; whoever comes first compiles, the others wait."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ["-DBUILD_TESTING=OFF", "-DCMAKE_INSTALL_PREFIX=/usr"]
        run("cmake", "--preset", "release", "-B", FOLDER, *options)
        run("cmake", "--build", FOLDER)
    return FOLDER
