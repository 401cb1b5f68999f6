#!/usr/bin/env python3
"""Which folder may include which: the table, held against every #include of the sources.

    borders.py [BUILD_DIR]

Prints each include that the table does not allow, each one of a library outside the folders
that own it, and, of what is built, each circle of calls among the files of a folder; exits
with 1 if there was any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')

# A folder may include itself and these. What stands further down knows less.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "worker/settings": {"common"},
    "worker/store": {"common"},
    "worker/klaviyo": {"common"},
    "worker/kafka": {"common", "worker/settings"},
    "worker/metrics": {"common", "worker/store", "worker/klaviyo"},
    "worker/export": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/klaviyo",
        "worker/metrics",
    },
    "worker/task": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/klaviyo",
        "worker/metrics",
        "worker/export",
    },
    "worker/ingest": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/kafka",
        "worker/metrics",
    },
    "worker/outcome": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/kafka",
        "worker/metrics",
    },
    "worker/http": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/klaviyo",
        "worker/metrics",
        "worker/export",
    },
    "worker/service": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/kafka",
        "worker/metrics",
        "worker/export",
        "worker/task",
        "worker/ingest",
        "worker/outcome",
        "worker/http",
    },
    "worker/cli": {"common", "worker/settings"},
    "worker/admin": {
        "common",
        "worker/settings",
        "worker/store",
        "worker/klaviyo",
        "worker/kafka",
        "worker/export",
        "worker/task",
        "worker/ingest",
        "worker/service",
        "worker/metrics",
        "worker/cli",
    },
    "worker": {  # main.c: the table of commands, and whose versions --version tells
        "common",
        "worker/admin",
        "worker/cli",
        "worker/http",
        "worker/kafka",
        "worker/klaviyo",
        "worker/store",
    },
    "tests/simulator": {"common"},  # a second opinion: nothing of the worker's
}

# A library's header, and the only folders that may include it.
OWNERS: dict[str, set[str]] = {
    "librdkafka/rdkafka.h": {"worker/kafka"},
    "libpq-fe.h": {"worker/store"},
    "curl/curl.h": {"worker/klaviyo"},
    "microhttpd.h": {"worker/http", "tests/simulator"},
    "libsmartcols.h": {"worker/cli"},
    "systemd/sd-daemon.h": {"worker/service"},
}


def sources(tree: Path) -> Iterator[Path]:
    for folder in ALLOWED:
        yield from sorted(path for path in (tree / folder).glob("*.[ch]") if path.is_file())


def includes(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := INCLUDE.match(line):
            yield number, found[1]


def wrong_includes(tree: Path) -> Iterator[str]:
    """Steps over a border."""
    for path in sources(tree):
        folder = path.parent.relative_to(tree).as_posix()
        for number, name in includes(path):
            where = f"{path.relative_to(tree)}:{number}"
            if name in OWNERS and folder not in OWNERS[name]:
                yield f"{where}: only {', '.join(sorted(OWNERS[name]))} may include {name}"
            if "/" not in name or not (tree / name).is_file():
                continue
            target = Path(name).parent.as_posix()
            if target != folder and target not in ALLOWED[folder]:
                yield f"{where}: {folder} may not include {target} ({name})"


def missing_folders(tree: Path) -> Iterator[str]:
    """Folders with C that the table does not name."""
    for root in ("common", "worker", "tests/simulator"):
        for path in sorted((tree / root).rglob("*.[ch]")):
            folder = path.parent.relative_to(tree).as_posix()
            if folder not in ALLOWED:
                yield f"{folder}: not in the table of tests/support/borders.py"


def symbols(objects: list[Path], kind: str) -> dict[Path, set[str]]:
    """Of each object the names that it defines ("--defined-only") or uses ("--undefined-only")."""
    command = ["nm", "--extern-only", kind, "--print-file-name"]
    listing = subprocess.run(
        [*command, *map(str, objects)], capture_output=True, text=True, check=True
    ).stdout
    found: dict[Path, set[str]] = {path: set() for path in objects}
    for line in listing.splitlines():
        path, _, rest = line.partition(":")  # "x.c.o:0000 T name" or "x.c.o:     U name"
        found[Path(path)].add(rest.split()[-1])
    return found


def calls(build: Path, folder: str) -> dict[str, set[str]]:
    """Which sources of a folder use what which others define, as the compiler saw it."""
    objects = sorted((build / folder).glob("CMakeFiles/*.dir/*.c.o"))
    if not objects:
        return {}
    defined = symbols(objects, "--defined-only")
    owner = {name: path for path, names in defined.items() for name in names}
    used = symbols(objects, "--undefined-only")
    return {
        f"{folder}/{path.name[:-2]}": {
            f"{folder}/{owner[name].name[:-2]}" for name in names if name in owner
        }
        for path, names in used.items()
    }


def circles(graph: dict[str, set[str]]) -> Iterator[str]:
    """Each strongly connected set of more than one file, after Tarjan."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[str]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                yield from visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                yield "a circle of calls: " + " ".join(sorted(circle))

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)


def complaints(tree: Path, build: Path | None) -> list[str]:
    found = [*missing_folders(tree), *wrong_includes(tree)]
    if build:
        for folder in ALLOWED:
            found += circles(calls(build, folder))
    return sorted(set(found))


def main() -> int:
    tree = Path(__file__).resolve().parents[2]
    found = complaints(tree, Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
