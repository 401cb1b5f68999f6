"""A seeded storm over workers, servers, connections and answers, and what is seen in it.

plan = Storm(seed).plan(seconds)     what happens in which second; the same for the same seed
Chaos(world, …).run(plan)            does it
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from chaos.cables import SilentCable, port_of
from chaos.history import History
from chaos.scenes import OWN_SETTINGS, Export, SetBack, refresh
from confluent_kafka import Producer

from support import events
from support.log_pipe import LogPipe
from support.process import NotYet, wait_until
from support.worker import Worker
from support.world import World

SETTINGS = {
    "LEASE_SECONDS": "5",
    "MAX_RUNS": "4",
    "REQUEST_TIMEOUT_SECONDS": "5",
    "RETRY_BUDGET_SECONDS": "300",
}
PARTITIONS = 12
WORKERS, WORKERS_MAX = 3, 5
MEMBERS_MIN = 50  # fewer do not lose anybody
TRY_AGAIN = 75
FREEZE_SECONDS = (1.0, 8.0)  # shorter and longer than a lease, shorter than /livez minds
SILENCE_SECONDS = (0.5, 4.0)
UNREAD_SECONDS = (2.0, 10.0)
# Of one partition: more than a worker holds before they have rows (8 MiB).
BACKLOG_EVENTS, BACKLOG_PADDING_BYTES = 160, 60_000
OPEN = "select count(*) from klaviyo.request where state = 'open'"
OPEN_EVENTS, OPEN_SECONDS = 20, 3.0
PAUSE_SECONDS = 8.0  # for the first pause to be seen

PAUSED = re.compile(r"^klaviyo_worker_paused_partitions\b.* [1-9]", re.M)

# Kinds of events, with how often they come.
KINDS = {
    "kill": 3,
    "terminate": 2,
    "freeze": 3,
    "join": 1,
    "leave": 1,
    "broker": 1,
    "database": 1,
    "database_connections": 2,
    "database_silence": 1,
    "klaviyo_connections": 1,
    "answers": 6,
}
# In the long form: two minutes a seed.
if "CHAOS_SEEDS" in os.environ:
    KINDS |= {
        "paused_partitions": 1,
        "set_back": 2,  # every second one takes the copy
        "stderr_blocked": 2,
        "site_defaults": 2,
    }
# Of a database, as sites set them; the last one: none.
SITE_DEFAULTS: list[dict[str, str]] = [
    {"default_transaction_isolation": "repeatable read"},
    {"default_transaction_isolation": "serializable"},
    {"lock_timeout": "1ms", "statement_timeout": "150ms"},
    {"idle_in_transaction_session_timeout": "1ms", "lock_timeout": "1ms"},
    {
        "default_transaction_isolation": "repeatable read",
        "lock_timeout": "1ms",
        "statement_timeout": "150ms",
        "idle_in_transaction_session_timeout": "1ms",
    },
    {},
]
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("import", {"throttle": 2}),
    ("import", {"status": 503}),
    ("import", {"status": 500}),
    ("import", {"reset": "before"}),
    ("import", {"reset": "after"}),
    ("import", {"html403": True}),
    ("import", {"truncate": 30}),
    ("import", {"malformed": True}),
    ("import", {"delay_ms": 3000}),
    ("import", {"job": "cancelled"}),
    ("import", {"job": "vanish"}),
    ("job", {"status": 503}),
    ("job", {"malformed": True}),
    ("job", {"reset": "before"}),
    ("jobs", {"status": 502}),
    ("jobs", {"truncate": 50}),
    ("jobs", {"throttle": 1}),
    ("profiles", {"status": 503}),
    ("profiles", {"malformed": True}),
    ("list-remove", {"status": 500}),
    ("list-remove", {"reset": "after"}),
    ("list-members", {"truncate": 20}),
    ("lists", {"status": 502}),
]


@dataclass(frozen=True)
class Event:
    """Something that happens; choice in [0, 1) decides to whom."""

    second: int
    kind: str
    choice: float
    strength: float


class Storm:
    """What happens when: drawn before anything runs, so that timing changes none of it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def plan(self, seconds: int) -> list[Event]:
        kinds = self._random.choices(list(KINDS), list(KINDS.values()), k=seconds)
        return [
            Event(second, kind, self._random.random(), self._random.random())
            for second, kind in enumerate(kinds)
        ]


def between(limits: tuple[float, float], strength: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * strength


class Upstream(threading.Thread):
    """Changes segments and publishes events, whatever goes on around it."""

    def __init__(self, world: World, exports: list[Export], seed: int) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._exports = exports
        self._random = random.Random(seed)
        self._producer = Producer(
            {
                "bootstrap.servers": world.kafka.address,
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 500,
                "log_level": 2,
            }
        )
        self._over = threading.Event()
        self.published = 0
        self._failures: list[str] = []

    def run(self) -> None:
        for export in self._exports:
            self._publish(export)
        for points in itertools.count(1):
            export = self._random.choice(self._exports)
            if not export.is_still:
                self._change(export, points)
            self._publish(export)
            if self._over.wait(0.2 * self._random.random()):
                return

    def _change(self, export: Export, points: int) -> None:
        """Until it has succeeded: the event says what was changed before."""
        known = [*export.points]
        chosen = self._random.sample(known, min(len(known), self._random.choice([1, 5, 50])))
        new = [
            f"new{points}-{n}@{export.segment}.example" for n in range(self._random.choice([0, 3]))
        ]
        leavers: set[str] = set()
        if export.removes and len(known) > MEMBERS_MIN:
            new += self._random.sample(sorted(export.left), min(len(export.left), 1))
            leavers = set(self._random.sample(known, self._random.choice([0, 1, 5]))) - {*chosen}
        while True:
            with contextlib.suppress(psycopg.Error), self._world.db.connect() as connection:
                connection.execute(OWN_SETTINGS)
                export.change(connection, points, chosen + new, leavers)
                return
            time.sleep(0.2)

    def _publish(self, export: Export) -> None:
        message = events.binary(export.segment)
        self._producer.produce(
            self._world.topic,
            message.value,
            message.key,
            headers=dict(message.headers),
            on_delivery=lambda error, _: self._failures.append(str(error)) if error else None,
        )
        self._producer.poll(0)
        self.published += 1

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        left = self._producer.flush(60)
        assert not left and not self._failures, f"{left} not written, {self._failures}"


@dataclass(frozen=True)
class Copy:
    """Of the data directory, and what upstream had when it was begun, export by export."""

    folder: Path
    points: list[dict[str, int]]
    begun_at: float


def paused_partitions(worker: Worker) -> bool:
    with contextlib.suppress(OSError):
        return bool(PAUSED.search(worker.page("/metrics")))
    return False


class Chaos:
    """Does what a plan says, and keeps the world going."""

    def __init__(self, world: World, exports: list[Export], history: History) -> None:
        self.world = world
        self._exports = exports
        self._accounts = list({e.account.id: e.account for e in exports}.values())
        self._history = history
        self._to_database = SilentCable(port_of(world.db.url))
        self._to_klaviyo = SilentCable(port_of(world.simulator.url))
        self._thaw_at: dict[Worker, float] = {}
        self._silent_until = 0.0
        self._pipes: dict[Worker, LogPipe] = {}
        self._unread_until: dict[LogPipe, float] = {}
        self._copy: Copy | None = None
        self.set_backs: list[SetBack] = []
        self._leaving: list[Worker] = []
        self._ended: list[Worker] = []
        self.done: Counter[str] = Counter()
        for _ in range(WORKERS):
            self._start()

    # -- the workers

    def _start(self) -> Worker:
        world = self.world
        database = world.db.url.replace(f":{port_of(world.db.url)}/", f":{self._to_database.port}/")
        database += f"?application_name=klaviyo-worker-{len(world.workers) + 1}"
        worker, pipe = world.start_piped_worker(
            **SETTINGS,
            DATABASE_URL=database,
            KLAVIYO_BASE_URL=f"http://127.0.0.1:{self._to_klaviyo.port}",
        )
        self._pipes[worker] = pipe
        return worker

    @property
    def _live(self) -> list[Worker]:
        return [w for w in self.world.workers if w not in self._leaving and w not in self._ended]

    @property
    def _awake(self) -> list[Worker]:
        return [w for w in self._live if w not in self._thaw_at]

    def wait_ready(self) -> None:
        for worker in self._live:
            worker.wait_ready()

    def _one_awake(self, event: Event) -> Worker | None:
        return self._awake[int(event.choice * len(self._awake))] if self._awake else None

    # -- what happens

    def run(self, plan: list[Event], settle: Callable[[], None]) -> None:
        begin = time.monotonic()
        for event in plan:
            while (left := begin + event.second - time.monotonic()) > 0:
                time.sleep(min(left, 0.1))
                self._tend()
            if getattr(self, f"_do_{event.kind}")(event):
                self.done[event.kind] += 1
            settle()
        self._calm()

    def _tend(self) -> None:
        """Ends what lasts, and looks at those who should be well."""
        now = time.monotonic()
        for worker, until in list(self._thaw_at.items()):
            if now >= until:
                worker.thaw()
                del self._thaw_at[worker]
        if self._silent_until and now >= self._silent_until:
            self._to_database.release()
            self._silent_until = 0.0
        for pipe, until in list(self._unread_until.items()):
            if now >= until:
                pipe.release()
                del self._unread_until[pipe]
        for worker in list(self._leaving):
            if not worker.process.running:
                self._check_ended(worker)

    def _check_ended(self, worker: Worker) -> None:
        self._leaving.remove(worker)
        self._ended.append(worker)
        status = worker.process.exit_status
        # The signal's own end: it came before the worker had begun.
        assert status in (0, TRY_AGAIN, -signal.SIGTERM), (
            f"SIGTERM ended a worker with {status}: {worker.log}"
        )

    def check_well(self) -> None:
        """Nobody ends by himself, and nobody says that he is stuck."""
        for worker in self._live:
            if worker.process.exit_status == TRY_AGAIN:  # met no database as it started
                self._ended.append(worker)
                self._start()
                continue
            assert worker.process.running, f"a worker ended by itself: {worker.log}"
            if worker not in self._thaw_at:
                assert worker.status("/livez") in (0, 200), f"not alive: {worker.log}"

    def _calm(self) -> None:
        """Everything is as it should be again, but for what is left to do."""
        self.world.simulator.clear_faults()
        for worker in list(self._thaw_at):
            worker.thaw()
        self._thaw_at.clear()
        self._to_database.release()
        self._silent_until = 0.0
        for pipe in self._unread_until:
            pipe.release()
        self._unread_until.clear()
        self._set_defaults({})
        self.world.kafka.wait_ready()
        while len(self._live) < WORKERS:
            self._start()

    def _do_kill(self, event: Event) -> bool:
        worker = self._one_awake(event)
        if worker:
            worker.kill()
            self._ended.append(worker)
            self._start()
        return worker is not None

    def _do_terminate(self, event: Event) -> bool:
        if self._do_leave(event, least=1):
            self._start()
            return True
        return False

    def _do_leave(self, event: Event, least: int = 2) -> bool:
        worker = self._one_awake(event)
        if not worker or len(self._awake) < least:
            return False
        worker.process.send(signal.SIGTERM)
        self._leaving.append(worker)
        return True

    def _do_join(self, _event: Event) -> bool:
        if len(self._live) >= WORKERS_MAX:
            return False
        self._start()
        return True

    def _do_freeze(self, event: Event) -> bool:
        worker = self._one_awake(event)
        if worker:
            worker.freeze()
            self._thaw_at[worker] = time.monotonic() + between(FREEZE_SECONDS, event.strength)
        return worker is not None

    def _do_broker(self, _event: Event) -> bool:
        self.world.kafka.kill()
        self.world.kafka.start()
        return True

    def _do_database(self, event: Event) -> bool:
        server = self.world.postgres
        try:
            server.restart("fast" if event.choice < 0.5 else "immediate")
        except subprocess.CalledProcessError:  # it takes longer than pg_ctl waits
            assert server._process
            server._process.wait(90)
            server.start()
            server.wait_ready()
        return True

    def _do_database_connections(self, event: Event) -> bool:
        if event.choice < 0.5:
            self._to_database.drop()
            return True
        with contextlib.suppress(psycopg.Error):
            self.world.db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like %s and hashint4(pid) %% 2 = 0",
                "klaviyo-worker%",
            )
        return True

    def _do_database_silence(self, event: Event) -> bool:
        self._to_database.hold()
        self._silent_until = time.monotonic() + between(SILENCE_SECONDS, event.strength)
        return True

    def _do_klaviyo_connections(self, _event: Event) -> bool:
        self._to_klaviyo.drop()
        return True

    def _do_answers(self, event: Event) -> bool:
        endpoint, action = FAULTS[int(event.choice * len(FAULTS))]
        account = self._accounts[int(event.strength * len(self._accounts))]
        self.world.simulator.fault(
            endpoint, action, times=1 + int(event.strength * 5), account=account.id
        )
        return True

    def _do_stderr_blocked(self, event: Event) -> bool:
        worker = self._one_awake(event)
        if worker:
            pipe = self._pipes[worker]
            pipe.hold()
            self._unread_until[pipe] = time.monotonic() + between(UNREAD_SECONDS, event.strength)
        return worker is not None

    def _do_site_defaults(self, event: Event) -> bool:
        self._set_defaults(SITE_DEFAULTS[int(event.choice * len(SITE_DEFAULTS))])
        self._to_database.drop()  # they are felt by new sessions
        return True

    def _set_defaults(self, defaults: dict[str, str]) -> None:
        name = self.world.db.name
        with self.world.db.connect() as connection:
            connection.execute(OWN_SETTINGS)
            connection.execute(f'alter database "{name}" reset all'.encode())
            for setting, value in defaults.items():
                connection.execute(f"alter database \"{name}\" set {setting} = '{value}'".encode())

    def _do_paused_partitions(self, event: Event) -> bool:
        """A worker has more in hand than it may, a member joins and leaves, then it goes on."""
        partition = int(event.choice * PARTITIONS)
        export = self._exports[int(event.strength * len(self._exports))]
        padding = "x" * BACKLOG_PADDING_BYTES
        large = [events.binary(export.segment, padding=padding) for _ in range(BACKLOG_EVENTS)]
        self.world.kafka.wait_ready()
        self._to_database.hold()
        self.world.publish(*large, partition=partition)
        paused = self._wait_pause()
        visitor = self._start()
        with contextlib.suppress(NotYet):
            wait_until(lambda: visitor.events("partitions_assigned"), PAUSE_SECONDS, "the visitor")
        visitor.process.send(signal.SIGTERM)
        self._leaving.append(visitor)
        self._to_database.release()
        self._silent_until = 0.0
        return paused

    def _wait_pause(self) -> bool:
        with contextlib.suppress(NotYet):
            return wait_until(self._any_paused, PAUSE_SECONDS, "a pause", 0.2)
        return False

    def _any_paused(self) -> bool:
        return any(paused_partitions(worker) for worker in self._awake)

    def _do_set_back(self, event: Event) -> bool:
        """The first takes a copy of the database, the second goes on from it."""
        self._open_events()
        if self._copy is None:
            points = [dict(export.points) for export in self._exports]
            begun_at = time.time()
            folder = self.world.postgres.data.parent / f"copy-{event.second}"
            self.world.postgres.back_up(folder)
            self._copy = Copy(folder, points, begun_at)
            return False
        copy, self._copy = self._copy, None
        self._to_database.hold()  # nothing ends any more that is not seen here
        with contextlib.ExitStack() as locks:
            for export in self._exports:
                locks.enter_context(export.lock)
            self._history.read()
            stopped_at = time.time()
            self.world.postgres.set_back(copy.folder)
            self._write_again(copy)
            self.set_backs.append(SetBack(copy.begun_at, stopped_at, time.time()))
        self._to_database.drop()
        self._to_database.release()
        self._silent_until = 0.0
        return True

    def _open_events(self) -> None:
        """What is accepted now has not ended when the copy is taken, or is forgotten."""
        self.world.kafka.wait_ready()
        refresh(self.world, *self._exports)
        with contextlib.suppress(NotYet, psycopg.Error):
            wait_until(self._enough_open, OPEN_SECONDS, "open events")

    def _enough_open(self) -> bool:
        return bool(self.world.db.value(OPEN) >= OPEN_EVENTS)

    def _write_again(self, copy: Copy) -> None:
        """What upstream has changed since: its data come from elsewhere."""
        with self.world.db.connect() as connection:
            connection.execute(OWN_SETTINGS)
            for export, then in zip(self._exports, copy.points, strict=True):
                changes = {a: p for a, p in export.points.items() if then.get(a) != p}
                if changes or export.left:
                    export.write(connection, changes, export.left)

    # -- after it

    def stop_all(self) -> None:
        for worker in self._live:
            worker.stop()
        wait_until(lambda: self._tend() or not self._leaving, 60, "workers to leave")
