"""What is measured again and again during a soak, and what of it must stay flat."""

from __future__ import annotations

import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from bench import cpu

from soak.flat import Bound, Trend, rates, trend
from soak.load import STEADY_WORKERS, Load
from support.world import World, check_sums

SIZES = """
select c.relname, case c.relkind when 'i' then 'index' else 'table' end,
       case c.relkind when 'i' then pg_relation_size(c.oid) else pg_table_size(c.oid) end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'klaviyo' and c.relkind in ('r', 'i')"""
DEAD = "select relname, n_live_tup, n_dead_tup from pg_stat_user_tables where schemaname = 'klaviyo'"
# Of workers, not of commands.
CONNECTIONS = """
select application_name, count(*) from pg_stat_activity
where datname = current_database() and application_name like 'klaviyo-worker%%'
  and application_name <> 'klaviyo-worker admin' and application_name <> 'klaviyo-worker check'
group by 1"""
ENDED = """
select run_id, epoch, state, coalesce(reason, ''), json_build_object('read', read_rows, 'invalid', invalid_rows,
       'duplicate', duplicate_rows, 'unchanged', unchanged_rows, 'selected', selected_rows,
       'accepted', accepted_rows, 'rejected', rejected_rows)
from klaviyo.run where finished_at > now() - interval '2 minutes'"""
COMMANDS = 10  # of which a sample is the median
SUCCEEDED = ("succeeded", "succeeded_with_rejections")


@dataclass
class Series:
    """One figure over time."""

    name: str
    unit: str
    bound: Bound | None  # none: it is shown, and not judged
    samples: list[float] = field(default_factory=list)

    def trend(self) -> Trend:
        return trend(self.samples)

    @property
    def flat(self) -> bool:
        return self.bound is None or self.trend().within(self.bound)

    def row(self) -> tuple[str, ...]:
        seen = self.trend()
        limit = "" if self.bound is None else shown(self.bound.over(seen.first), self.unit)
        texts = [shown(value, self.unit) for value in (seen.first, seen.last, seen.most)]
        return (self.name, *texts, limit, "" if self.flat else "GROWS")


def shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1024:,.0f} KiB"
    return f"{value:,.0f} {unit}".rstrip()


MEMORY = Bound(1.05, 2 * 1024 * 1024)
COUNT = Bound(1.1, 3)
# Autovacuum lets a table of a few pages grow to fifty dead rows and a fifth before it comes.
SIZE = Bound(1.25, 256 * 1024)
ROWS = Bound(1.3, 300)
# Of a hundred. Autovacuum comes when fifty rows and a fifth of all are dead.
DEAD_ROWS = Bound(0, 30)
DEAD_ROWS_BASE = 1000  # of a table of a few rows the share would say nothing
PROCESSOR = Bound(1.3, 1000)
LAG = Bound(1.5, 50)
LOG = Bound(1.3, 20 * 1024)
# They keep what they are for: who did what, and when which batch went.
KEPT = ("audit", "past_run")


def proc_figures(pid: int) -> dict[str, float]:
    """Resident bytes, descriptors and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "memory": int(values["VmRSS"].split()[0]) * 1024,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(values["Threads"]),
    }


class Sampler(threading.Thread):
    """Takes a sample every so many seconds."""

    def __init__(self, world: World, load: Load, every_seconds: float) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._load = load
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self.series: dict[str, Series] = {}
        self.ended: dict[int, tuple[int, str, str]] = {}
        self.wrong_sums: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._over.wait(self._every_seconds):
            try:
                with self._world.db.connect() as connection:
                    self._look(connection)
            except Exception as failure:
                self.failures.append(f"{time.strftime('%X')} {failure!r}")

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        with self._world.db.connect() as connection:
            self._note_ended(connection)

    def _add(self, name: str, unit: str, bound: Bound | None, value: float) -> None:
        """Series that begin late (an index that came) have zeros before."""
        if name not in self.series:
            self.series[name] = Series(name, unit, bound, [0.0] * self._taken)
        self.series[name].samples.append(value)

    @property
    def _taken(self) -> int:
        return len(self.series["ended runs"].samples) if "ended runs" in self.series else 0

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        self._look_at_processes()
        self._look_at_database(connection)
        self._look_at_kafka()
        self._look_at_logs()
        newest = [ms for _, ms in self._load.command_ms[-COMMANDS:]]
        self._add("a command", "ms", None, statistics.median(newest) if newest else 0)
        self._note_ended(connection)
        self._add("ended runs", "", None, len(self.ended))

    def _look_at_processes(self) -> None:
        for n, worker in enumerate(self._load.workers[:STEADY_WORKERS], 1):
            figures = proc_figures(worker.process.pid)
            self._add(f"worker {n}: resident memory", "bytes", MEMORY, figures["memory"])
            self._add(f"worker {n}: descriptors", "", COUNT, figures["descriptors"])
            self._add(f"worker {n}: threads", "", COUNT, figures["threads"])
            processor_ms = 1000 * cpu.seconds(worker.process.pid)
            self._add(f"worker {n}: processor so far", "ms", None, processor_ms)

    def _look_at_database(self, connection: psycopg.Connection[Any]) -> None:
        found = connection.execute(CONNECTIONS.encode()).fetchall()
        self._add("database: connections of workers", "", COUNT, sum(n for _, n in found))
        for name, kind, size in connection.execute(SIZES.encode()).fetchall():
            bound = None if name.startswith(KEPT) else SIZE
            self._add(f"{kind} {name}", "bytes", bound, size)
        for name, live, dead in connection.execute(DEAD.encode()).fetchall():
            self._add(f"rows of {name}", "", None if name in KEPT else ROWS, live)
            share = 100 * dead / (live + DEAD_ROWS_BASE)
            self._add(f"dead rows of {name}", "%", DEAD_ROWS, share)

    def _look_at_kafka(self) -> None:
        ends = self._world.kafka.end_offsets(self._world.topic)
        done = self._world.kafka.committed(self._world.group, self._world.topic)
        lag = sum(end - done.get(n, 0) for n, end in ends.items())
        self._add("kafka: records not committed", "", LAG, lag)

    def _look_at_logs(self) -> None:
        total = sum(worker.log.stat().st_size for worker in self._world.workers)
        self._add("log: bytes so far", "bytes", None, total)

    def _note_ended(self, connection: psycopg.Connection[Any]) -> None:
        for run, epoch, state, reason, counts in connection.execute(ENDED.encode()).fetchall():
            if run in self.ended:
                continue
            self.ended[run] = (epoch, state, reason)
            try:
                if state in SUCCEEDED:
                    check_sums({"counts": counts})
            except AssertionError as wrong:
                self.wrong_sums.append(f"run {run}: {wrong}")

    # -- what it comes to

    def judged(self) -> dict[str, Series]:
        """With what is told by differences: how much is logged and done in a minute."""
        window = max(1, round(60 / self._every_seconds))
        minutes = {
            "log: bytes a minute": ("bytes", LOG, "log: bytes so far"),
            "runs ended in a minute": ("", None, "ended runs"),
            **{
                f"worker {n}: processor a minute": ("ms", PROCESSOR, f"worker {n}: processor so far")
                for n in range(1, STEADY_WORKERS + 1)
            },
        }
        made = {
            name: Series(name, unit, bound, rates(self.series[total].samples, window))
            for name, (unit, bound, total) in minutes.items()
        }
        return {**self.series, **made}

    def table(self) -> str:
        rows = [("", "first third", "last third", "most", "last may be", "")]
        rows += [series.row() for _, series in sorted(self.judged().items())]
        widths = [max(len(row[n]) for row in rows) for n in range(6)]
        return "\n".join(
            row[0].ljust(widths[0]) + "".join(f"  {row[n]:>{widths[n]}}" for n in range(1, 6))
            for row in rows
        )

    def save(self, path: Path, about: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {
            name: {**vars(series.trend()), "flat": series.flat, "samples": series.samples}
            for name, series in self.judged().items()
        }
        path.write_text(json.dumps({"about": about, "figures": figures}) + "\n")
