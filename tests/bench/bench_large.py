"""Large exports: from the event to the list, again unchanged, again with one in a hundred changed.

Every figure stands next to a floor that was measured in the same run: what `psql` needs to
copy the sorted members out. A machine that others use makes both slower. Build with
TESTS_PRESET=release. BENCH_MEMBERS names the sizes (1000000,5000000), BENCH_BODIES the number
of large bodies.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.paths import postgres_program
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, MakeWorld, World

from bench import cpu
from bench.figures import Figures, size

SIZES = [int(size) for size in os.environ.get("BENCH_MEMBERS", "1000000,5000000").split(",")]
CHANGED = 100  # one in so many
JOB_MS = 1000
BODIES, BODY_ROWS, ROW_BYTES = size("BODIES", 30), 51, 96_000  # 4.9 MB each
LEAN_KEY = "pk_planted0secret0key0of0account0L1"
MAPPING = ["--attribute", "first_name=first_name", "--property", "points=points"]
POLLS = {"POLL_INTERVAL_MIN_MS": "1000", "POLL_INTERVAL_MAX_MS": "15000"}  # the defaults

SORTED = f"""copy (select profile_id, lower(btrim(attributes ->> 'email')) collate "C" as address,
attributes -> 'first_name', attributes -> 'points' from insights.segment_profile
where segment_id = '{SEGMENT}' order by address, profile_id collate "C")
to stdout (format binary)"""

PROFILES = """insert into insights.customer_profile select 'p' || n, jsonb_build_object(
'email', 'P.' || left(md5((n % {distinct})::text), 12) || n % {distinct} || '@shop.example',
'first_name', 'Name' || n % 1000, 'points', n, 'city', 'City ' || n % 500,
'note', {note}) from generate_series(1, {members}) n"""


def fill(world: World, members: int, distinct: int, note: str = "repeat('x', 40)") -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    world.db.execute(PROFILES.format(distinct=distinct, members=members, note=note))
    world.db.execute(
        "insert into insights.segment_member select %s, profile_id from insights.customer_profile",
        SEGMENT,
    )
    world.db.execute("vacuum (analyze) insights.customer_profile, insights.segment_member")


@dataclass
class Floor:
    seconds: float
    cpu: float


def floor(world: World) -> Floor:
    """The better of two: the first one fills the caches."""
    command = [str(postgres_program("psql")), world.db.url, "-qXc", "set work_mem = '64MB'", "-c"]
    took = []
    for _ in range(2):
        used, started = cpu.tree_seconds(server_pid(world)), time.monotonic()
        subprocess.run([*command, SORTED], stdout=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - started
        took.append(Floor(seconds, cpu.tree_seconds(server_pid(world)) - used))
    return min(took, key=lambda one: one.seconds)


def server_pid(world: World) -> int:
    return int((world.postgres.data / "postmaster.pid").read_text().split()[0])


def timeout(members: int) -> int:
    """Klaviyo's limit of 150 imports a minute, and as much again."""
    return 120 + members // 10_000


@dataclass
class Pass:
    """One refresh, in seconds since its event was published."""

    first_import: float | None
    ended: float
    committed: float
    imports: int
    server_cpu: float
    worker_cpu: float
    wal: float  # MB


def refresh(world: World, worker_pid: int, runs: int, members: int) -> Pass:
    before = len(world.simulator.diary("import"))
    server, worker = cpu.tree_seconds(server_pid(world)), cpu.seconds(worker_pid)
    lsn = world.db.value("select pg_current_wal_insert_lsn()::text")
    started = time.time()
    world.refresh()
    run = world.wait_runs_ended(runs, timeout(members))[0]
    ended = datetime.fromisoformat(run["finished_at"]).timestamp()
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
        float(world.db.value("select pg_current_wal_insert_lsn() - %s::pg_lsn", lsn)) / 1e6,
    )


def lean_script(world: World) -> dict[str, float]:
    """After the worker's runs, to an account of its own, whose limits are fresh."""
    world.simulator.add_account("AcctL1")
    world.simulator.add_key(LEAN_KEY, "AcctL1")
    world.simulator.add_list("LeanL1", "AcctL1", "Lean")
    script = str(Path(__file__).with_name("lean_script.py"))
    command = [sys.executable, script, world.db.url, world.simulator.url, LEAN_KEY, "LeanL1"]
    done = subprocess.run([*command, SEGMENT], stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def add_pass(figures: Figures, section: str, name: str, done: Pass, base: Floor) -> None:
    if done.first_import is not None:
        figures.seconds(
            section, f"{name}: event to first import", done.first_import, base.seconds
        )
    imports = f", {done.imports} imports"
    figures.seconds(section, f"{name}: event to run ended", done.ended, base.seconds, imports)
    late = done.committed - done.ended
    figures.add(section, f"{name}: run ended to offset committed", late, f"{late:.2f} s")
    used = done.server_cpu + done.worker_cpu
    text = (
        f"PostgreSQL {done.server_cpu:.1f} s + worker {done.worker_cpu:.1f} s"
        f" = {used / base.cpu:.2f} x floor's"
    )
    figures.add(section, f"{name}: processor time", used, text)
    figures.add(section, f"{name}: WAL", done.wal, f"{done.wal:.0f} MB")


def set_up(world: World, members: int) -> None:
    world.simulator.settings(queued_ms=0, processing_ms=JOB_MS)
    world.add_connection()
    world.add_export(EXPORT, "--max-profiles", str(members), mapping=MAPPING)


def least_seconds(imports: int, members: int, base: Floor) -> float:
    """Floor, published limits and a job: what no exporter that sorts can beat."""
    limits = (math.ceil(imports / 10) - 1) * 1.05
    if imports > 150:
        limits = max(limits, (math.ceil(imports / 150) - 1) * 60.0)
    return base.seconds + limits + JOB_MS / 1000


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("members", SIZES)
def test_a_large_export(make_world: MakeWorld, figures: Figures, members: int) -> None:
    world: Any = make_world()
    distinct = members * 9 // 10
    section = f"one export of {members:,} members, {distinct:,} addresses"
    fill(world, members, distinct)
    set_up(world, members)
    base = floor(world)
    text = f"{base.seconds:.2f} s, {base.cpu:.1f} s of PostgreSQL's processor"
    figures.add(section, "floor: psql copies the sorted members", base.seconds, text)
    figures.add(section, "floor: processor time", base.cpu, f"{base.cpu:.1f} s")
    worker = world.start_worker(LOG_LEVEL="warn", **POLLS).wait_ready()
    pid = worker.process.pid

    first = refresh(world, pid, 1, members)
    add_pass(figures, section, "first", first, base)
    pace = least_seconds(first.imports, members, base)
    figures.seconds(section, "first: floor + limits + job", pace, base.seconds)
    assert world.simulator.count(LIST) == distinct
    throttled = sum(entry["status"] == 429 for entry in world.simulator.diary())
    figures.add(section, "first: 429s", throttled, str(throttled))
    assert throttled == 0
    size = world.db.value("select pg_total_relation_size('klaviyo.ledger')") / distinct
    figures.add(section, "ledger with index, bytes a row", float(size), f"{size:.0f}")

    add_pass(figures, section, "unchanged", refresh(world, pid, 2, members), base)
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || '{\"points\": -1}'"
        f" where substr(profile_id, 2)::bigint % {CHANGED} = 0"
    )
    add_pass(figures, section, "1 % changed", refresh(world, pid, 3, members), base)
    peak = cpu.peak_bytes(pid) / 1024 / 1024
    figures.add(section, "resident memory at its highest", peak, f"{peak:.0f} MiB")
    worker.stop()

    lean = lean_script(world)
    figures.seconds(
        section, "lean script: start to first import", lean["first_import"], base.seconds
    )
    figures.seconds(section, "lean script: start to complete", lean["complete"], base.seconds)


@pytest.mark.timeout(900)
def test_a_crash_at_half(make_world: MakeWorld, figures: Figures) -> None:
    """Another worker is there; from the kill to the run's end, and what was sent again."""
    world: Any = make_world()
    members = min(SIZES)
    section = f"a worker is killed when half of {members:,} members are delivered"
    fill(world, members, members)
    set_up(world, members)
    settings = {"LOG_LEVEL": "warn", "LEASE_SECONDS": "5", **POLLS}
    victim = world.start_worker(**settings).wait_ready()
    world.refresh()
    batches = math.ceil(members / 10_000)
    world.wait_requests("import", batches // 2, timeout(members))
    world.start_worker(**settings)
    killed = time.time()
    victim.kill()

    world.wait_runs_ended(1, timeout(members))
    ended = time.time() - killed
    entries = world.simulator.diary("import")
    after = [entry["at"] - killed for entry in entries if entry["at"] > killed]
    figures.add(section, "kill to next import", after[0], f"{after[0]:.2f} s (lease 5 s)")
    figures.add(section, "kill to run ended", ended, f"{ended:.2f} s")
    again = len(entries) - batches
    figures.add(section, "imports sent again", again, f"{again} of {batches}")
    assert world.simulator.count(LIST) == members and again <= 5


@pytest.mark.timeout(600)
def test_bodies_of_4_9_megabytes(make_world: MakeWorld, figures: Figures) -> None:
    world: Any = make_world()
    section = f"{BODIES} bodies of 4.9 MB"
    fill(world, BODIES * BODY_ROWS, BODIES * BODY_ROWS, f"repeat('x', {ROW_BYTES})")
    world.simulator.settings(queued_ms=0, processing_ms=JOB_MS)
    world.add_connection()
    world.add_export(mapping=[*MAPPING, "--property", "note=note"])
    worker = world.start_worker(LOG_LEVEL="warn", **POLLS).wait_ready()
    started = time.time()

    world.refresh()
    world.wait_runs_ended(1, 300)
    took = time.time() - started

    imports = len(world.simulator.diary("import"))
    figures.add(section, "event to run ended", took, f"{took:.2f} s, {imports} imports")
    peak = cpu.peak_bytes(worker.process.pid) / 1024 / 1024
    figures.add(section, "resident memory at its highest", peak, f"{peak:.0f} MiB")
    assert peak <= 64
