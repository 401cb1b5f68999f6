"""What only root may do to a machine: done, or the test is skipped and says what it lacks.

A plain user does it by sudo if that asks for no password. Root of a container may lack rights, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


def as_root(*words: str | Path) -> None:
    """What must succeed, as something of its kind has before."""
    subprocess.run([*AS_ROOT, *words], check=True)


def needs(what: str, *command: str | Path) -> None:
    """Does it as root; where that fails the test is skipped."""
    try:
        done = subprocess.run([*AS_ROOT, *command], capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        pytest.skip(f"{what}: {missing}")
    if done.returncode:
        pytest.skip(f"{what}: {done.stderr.strip()}")


def needs_root(what: str) -> None:
    """Where sudo does not help: the program would lose its settings, and the test the right to end it."""
    if os.geteuid() != 0:
        pytest.skip(f"{what}: needs root")


@contextmanager
def where_allowed(what: str) -> Iterator[None]:
    """What the kernel refuses is skipped."""
    try:
        yield
    except PermissionError as refused:
        pytest.skip(f"{what}: {refused}")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory, of so many bytes ("128k")."""
    folder.mkdir()
    needs("a disk of the test's own", "mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", folder)
    try:
        yield folder
    finally:
        as_root("umount", "--lazy", folder)
