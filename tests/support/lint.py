#!/usr/bin/env python3
"""Borders, formatting and static analysis of the C sources, each file only when it changed.

    lint.py BUILD_DIR STAMP_DIR

borders.py holds every include against its table, style.py the rules of the house. clang-format looks at every C file of the tree, clang-tidy at every source that
BUILD_DIR compiles (configured with clang, built with Ninja). A file that passed
is remembered by a hash of everything its result depends on: its own text, the
headers it includes, the compiler's command and the linter's settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import borders
import style

TREE = Path(__file__).resolve().parents[2]
FOLDERS = ("common", "worker", "tests")


def digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def settings(name: str) -> bytes:
    """The text of a linter's settings, or nothing where there is no such file."""
    path = TREE / name
    return path.read_bytes() if path.exists() else b""


class Stamps:
    """Results that were good, one empty file for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.seen = {entry.name for entry in folder.iterdir()}

    def has(self, key: str) -> bool:
        return key in self.seen

    def add(self, key: str) -> None:
        (self.folder / key).touch()


def c_files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (TREE / folder).rglob("*.[ch]")]
    return sorted(path for path in found if path.is_file())


def check_format(stamps: Stamps) -> list[str]:
    rules = settings(".clang-format")
    stale = {
        path: key
        for path in c_files()
        if not stamps.has(key := "format-" + digest([rules, path.read_bytes()]))
    }
    if not stale:
        return []
    command = ["clang-format", "--dry-run", "-Werror", *map(str, stale)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return [run.stderr]
    for key in stale.values():
        stamps.add(key)
    return []


def included(build: Path) -> dict[str, list[Path]]:
    """What each object was compiled from, without the system's headers."""
    listing = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[Path]] = {}
    current: list[Path] = []
    for line in listing.splitlines():
        if line.startswith("    "):
            path = (build / line.strip()).resolve()
            if path.is_relative_to(TREE):
                current.append(path)
        elif ":" in line:
            current = found.setdefault(line.split(":", 1)[0], [])
    return found


def object_of(entry: dict[str, str]) -> str:
    words = shlex.split(entry["command"])
    return words[words.index("-o") + 1]


def tidy_key(entry: dict[str, str], parts: list[Path]) -> str:
    texts = (path.read_bytes() for path in sorted(set(parts)) if path.exists())
    return "tidy-" + digest([settings(".clang-tidy"), entry["command"].encode(), *texts])


def stale_sources(build: Path, stamps: Stamps) -> dict[Path, str]:
    """The sources to be analysed, each with the key of a good result."""
    entries = json.loads((build / "compile_commands.json").read_text())
    parts = included(build)
    stale: dict[Path, str] = {}
    for entry in entries:
        source = Path(entry["file"]).resolve()
        if source.is_relative_to(build) or not source.is_relative_to(TREE):
            continue
        key = tidy_key(entry, [source, *parts.get(object_of(entry), [])])
        if not stamps.has(key):
            stale[source] = key
    return stale


def tidy(build: Path, source: Path) -> str:
    """What clang-tidy has against this source; nothing when it passes."""
    run = subprocess.run(
        ["clang-tidy", "-p", str(build), "--quiet", "--warnings-as-errors=*", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout + run.stderr if run.returncode != 0 else ""


def check_tidy(build: Path, stamps: Stamps) -> list[str]:
    stale = stale_sources(build, stamps)
    complaints = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda source: (source, tidy(build, source)), stale)
        for source, complaint in results:
            if complaint:
                complaints.append(complaint)
            else:
                stamps.add(stale[source])
    return complaints


def main() -> int:
    build, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    stamps = Stamps(folder)
    complaints = borders.complaints(TREE, build) + style.complaints(TREE)
    complaints += check_format(stamps) + check_tidy(build, stamps)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
