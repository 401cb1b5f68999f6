#!/usr/bin/env python3
"""Which lines the unit tests execute: a table of folders, and a demand on pure modules.

    coverage.py BUILD REPORT

BUILD was compiled with --coverage and its tests were run; REPORT becomes gcovr's JSON
summary. A module without input or output must have PURE_PERCENT of its lines executed:
each that has less is named, and the exit status is 1. Of the other modules, which
integration tests execute, the figure is shown only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PURE_PERCENT = 90
FOLDERS = ("common", "worker", "tests/simulator")

# Folders of pure modules; what is not pure in them, and why.
NOT_PURE: dict[str, set[str]] = {
    # the log's descriptor, locked memory and files, the end of the process
    "common": {"log", "memory", "process", "seal", "secret", "secret_source", "version", "wakeup"},
    # threads and connections
    "worker/export": {
        "batch_writer", "delivery_loop", "guard_watch", "member_scan", "perform", "plan", "preview", "run",
        "scan_stop", "trial_plan",
    },
    # sockets and threads
    "worker/http": {"endpoints", "http_server", "listener", "process_usage", "snapshot"},
    # Kafka, the database, threads
    "worker/ingest": {
        "assignment", "config_watch", "dead_letter_writer", "ingest", "intake", "intake_work",
        "reread",
    },
    "worker/klaviyo": {"client", "transfer", "wiping_heap"},  # curl
    "worker/metrics": set(),
    "worker/outcome": {"outcome_sender"},  # Kafka, the database
    "worker/settings": set(),
}  # fmt: skip
# Pure modules of folders whose others are not.
PURE: dict[str, set[str]] = {
    "worker/admin": {"field_path", "name", "refresh_event"},
    "worker/cli": {"arguments", "cell", "command_lookup", "duration", "key_word", "percent"},
    "worker/kafka": {"client_text", "commits", "properties", "record"},
    "worker/store": {
        "batch_rows", "binary_array", "copy", "database_url", "run_state", "waiting",
    },
    "worker/task": {"payload_mask"},
    "tests/simulator": {
        "address", "attributes", "filter", "import", "index", "limit", "page", "scan", "traffic",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """One .c file: so many of its lines were executed."""

    path: Path
    executed: int
    lines: int

    @property
    def folder(self) -> str:
        return str(self.path.parent)

    @property
    def percent(self) -> float:
        return 100 * self.executed / self.lines

    @property
    def is_pure(self) -> bool:
        if self.folder in NOT_PURE:
            return self.path.stem not in NOT_PURE[self.folder]
        return self.path.stem in PURE.get(self.folder, set())


def measure(build: Path, report: Path) -> list[Module]:
    command = ["gcovr", "--root", TREE, "--object-directory", build, "--json-summary", report]
    for folder in FOLDERS:
        command += ["--filter", f"{folder}/"]
    subprocess.run([*map(str, command), str(build)], cwd=TREE, check=True)
    files = json.loads(report.read_text())["files"]
    found = [Module(Path(f["filename"]), f["line_covered"], f["line_total"]) for f in files]
    return [module for module in found if module.path.suffix == ".c" and module.lines]


def missing(modules: list[Module]) -> list[str]:
    """Names in the tables that are no module any more."""
    known = {(module.folder, module.path.stem) for module in modules}
    named = {(folder, stem) for table in (NOT_PURE, PURE) for folder in table for stem in table[folder]}
    return [f"{folder}/{stem} is in the table, and is no module" for folder, stem in sorted(named - known)]


def total(modules: list[Module]) -> str:
    executed, lines = sum(m.executed for m in modules), sum(m.lines for m in modules)
    return f"{executed:6} of {lines:6} {100 * executed / lines:6.1f} %" if lines else "-"


def table(modules: list[Module]) -> str:
    by_folder: dict[str, list[Module]] = defaultdict(list)
    for module in modules:
        by_folder[module.folder].append(module)
    rows = [f"{'lines executed by unit tests':30} {'all':>27} {'pure modules':>27}"]
    for folder, found in sorted(by_folder.items()):
        rows.append(f"{folder:30} {total(found):>27} {total([m for m in found if m.is_pure]):>27}")
    pure = [module for module in modules if module.is_pure]
    rows.append(f"{'all':30} {total(modules):>27} {total(pure):>27}")
    return "\n".join(rows)


def main() -> int:
    modules = measure(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    pure = [module for module in modules if module.is_pure]
    below = sorted((m for m in pure if m.percent < PURE_PERCENT), key=lambda m: m.percent)
    print(table(modules))
    print(f"{len(pure)} pure modules, {len(below)} of them below {PURE_PERCENT} %")
    complaints = missing(modules) + [f"{m.path}: {m.percent:.1f} %" for m in below]
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
