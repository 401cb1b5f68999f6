"""One large export: from the event to the list, again unchanged, again with one in a hundred changed.

Every figure stands beside a floor that was measured in the same run: what `psql` needs to
copy the sorted members out. A machine that others use makes both slower. Build with
TESTS_PRESET=release. BENCH_MEMBERS says how many (1,000,000); a row of the table is also an
entry of build/bench/large-MEMBERS.json.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.paths import BUILD, postgres_program
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, MakeWorld, World

from bench import cpu

MEMBERS = int(os.environ.get("BENCH_MEMBERS", "1000000"))
DISTINCT = MEMBERS * 9 // 10
CHANGED = 100  # one in so many
JOB_MS = 1000
LEAN_KEY = "pk_planted0secret0key0of0account0L1"
TIMEOUT = 120 + MEMBERS // 2000

SORTED = f"""copy (select profile_id, lower(btrim(attributes ->> 'email')) collate "C" as address,
attributes -> 'first_name', attributes -> 'points' from insights.segment_profile
where segment_id = '{SEGMENT}' order by address, profile_id collate "C")
to stdout (format binary)"""

PROFILES = """insert into insights.customer_profile select 'p' || n, jsonb_build_object(
'email', 'P.' || left(md5((n % {distinct})::text), 12) || n % {distinct} || '@shop.example',
'first_name', 'Name' || n % 1000, 'points', n, 'city', 'City ' || n % 500,
'note', repeat('x', 40)) from generate_series(1, {members}) n"""


@dataclass
class Table:
    rows: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, figure: float, text: str) -> None:
        self.figures[name] = round(figure, 3)
        self.rows.append((name, text))

    def print(self, path: Path) -> None:
        width = max(len(name) for name, _ in self.rows)
        print("\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in self.rows))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.figures, indent=2) + "\n")


def fill(world: World) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    world.db.execute(PROFILES.format(distinct=DISTINCT, members=MEMBERS))
    world.db.execute(
        "insert into insights.segment_member select %s, profile_id from insights.customer_profile",
        SEGMENT,
    )
    world.db.execute("vacuum (analyze) insights.customer_profile, insights.segment_member")


def floor(world: World) -> float:
    """The better of two: the first one fills the caches."""
    command = [str(postgres_program("psql")), world.db.url, "-qXc", "set work_mem = '64MB'", "-c"]
    took = []
    for _ in range(2):
        started = time.monotonic()
        subprocess.run([*command, SORTED], stdout=subprocess.DEVNULL, check=True)
        took.append(time.monotonic() - started)
    return min(took)


def server_pid(world: World) -> int:
    return int((world.postgres.data / "postmaster.pid").read_text().split()[0])


@dataclass
class Pass:
    """One refresh, in seconds since its event was published."""

    first_import: float | None
    ended: float
    committed: float
    imports: int
    server_cpu: float
    worker_cpu: float


def refresh(world: World, worker_pid: int, runs: int) -> Pass:
    before = len(world.simulator.diary("import"))
    server, worker = cpu.tree_seconds(server_pid(world)), cpu.seconds(worker_pid)
    started = time.time()
    world.refresh()
    run = world.wait_runs_ended(runs, TIMEOUT)[0]
    ended = time.time()
    assert run["state"] == "succeeded", run
    wait_until(lambda: world.committed() >= runs, 30, "the offset", 0.01)
    committed = time.time()
    entries = world.simulator.diary("import")[before:]
    return Pass(
        entries[0]["at"] - started if entries else None,
        ended - started,
        committed - started,
        len(entries),
        cpu.tree_seconds(server_pid(world)) - server,
        cpu.seconds(worker_pid) - worker,
    )


def lean_script(world: World) -> dict[str, float]:
    """After the worker's runs, to an account of its own, whose limits are fresh."""
    world.simulator.add_account("AcctL1")
    world.simulator.add_key(LEAN_KEY, "AcctL1")
    world.simulator.add_list("LeanL1", "AcctL1", "Lean")
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("lean_script.py")),
            world.db.url,
            world.simulator.url,
            LEAN_KEY,
            "LeanL1",
            SEGMENT,
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def add_pass(table: Table, name: str, done: Pass, base: float) -> None:
    if done.first_import is not None:
        table.add(
            f"{name}: event to first import",
            done.first_import,
            f"{done.first_import:.2f} s = {done.first_import / base:.2f} x floor",
        )
    table.add(
        f"{name}: event to run ended",
        done.ended,
        f"{done.ended:.2f} s = {done.ended / base:.2f} x floor, {done.imports} imports",
    )
    late = done.committed - done.ended
    table.add(f"{name}: run ended to offset committed", late, f"{late:.2f} s")
    table.add(
        f"{name}: processor time",
        done.server_cpu + done.worker_cpu,
        f"PostgreSQL {done.server_cpu:.1f} s + worker {done.worker_cpu:.1f} s",
    )


@pytest.mark.timeout(10 * TIMEOUT)
def test_a_large_export(make_world: MakeWorld) -> None:
    world: Any = make_world()
    table = Table()
    fill(world)
    world.simulator.settings(queued_ms=0, processing_ms=JOB_MS)
    world.add_connection()
    world.add_export(
        EXPORT,
        "--max-profiles",
        str(MEMBERS),
        mapping=["--attribute", "first_name=first_name", "--property", "points=points"],
    )
    base = floor(world)
    table.add("floor: psql copies the sorted members", base, f"{base:.2f} s")
    worker = world.start_worker(LOG_LEVEL="warn", POLL_INTERVAL_MIN_MS="1000", POLL_INTERVAL_MAX_MS="15000").wait_ready()
    pid = worker.process.pid

    first = refresh(world, pid, 1)
    add_pass(table, "first", first, base)
    pace = base + (math.ceil(first.imports / 10) - 1) * 1.05 + JOB_MS / 1000
    table.add("first: floor + limits + job", pace, f"{pace:.2f} s, what the goal allows")
    assert world.simulator.count(LIST) == DISTINCT
    assert not [entry for entry in world.simulator.diary() if entry["status"] == 429]
    size = world.db.value("select pg_total_relation_size('klaviyo.ledger')") / DISTINCT
    table.add("ledger with index, bytes a row", size, f"{size:.0f}")

    add_pass(table, "unchanged", refresh(world, pid, 2), base)
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || '{\"points\": -1}'"
        f" where substr(profile_id, 2)::bigint % {CHANGED} = 0"
    )
    add_pass(table, "1 % changed", refresh(world, pid, 3), base)
    peak = cpu.peak_bytes(pid) / 1024 / 1024
    table.add("resident memory at its highest, MiB", peak, f"{peak:.0f} MiB")
    worker.stop()

    lean = lean_script(world)
    table.add(
        "lean script: start to first import",
        lean["first_import"],
        f"{lean['first_import']:.2f} s = {lean['first_import'] / base:.2f} x floor",
    )
    table.add("lean script: start to complete", lean["complete"], f"{lean['complete']:.2f} s")
    table.print(BUILD / "bench" / f"large-{MEMBERS}.json")
