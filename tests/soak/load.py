"""A mixed load without end: what upstream, people, monitoring and mischance do to workers.

Each kind of work is a beat: a function that is called again and again in a thread of
its own. What it raises is kept, and the beat goes on.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chaos.scenes import add_accounts
from confluent_kafka import Producer

from soak.upstream import REFUSED, Target
from support import events
from support.process import SLOW_POLL_SECONDS, wait_until
from support.roles import make_login
from support.worker import Result, Worker
from support.world import World

TRY_AGAIN = 75
SETTINGS = {"LOG_LEVEL": "info", "MAX_RUNS": "4", "RETENTION_DAYS": "1"}
STEADY_WORKERS = 2  # that live from the beginning to the end; one more comes and goes
AGE_AFTER = "3 minutes"
GUARDED = "guarded"
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("import", {"throttle": 1}),
    ("import", {"status": 503}),
    ("import", {"status": 500}),
    ("import", {"reset": "before"}),
    ("import", {"html403": True}),
    ("import", {"malformed": True}),
    ("import", {"delay_ms": 1500}),
    ("import", {"job": "cancelled"}),
    ("import", {"job": "vanish"}),
    ("job", {"status": 503}),
    ("jobs", {"status": 502}),
    ("jobs", {"throttle": 1}),
    ("list-remove", {"status": 503}),
    ("profiles", {"throttle": 1}),
]
BAD_EVENTS = [
    events.Message(b"no JSON", {}, b"bad"),
    events.Message(None, {}, b"bad"),
    events.Message(b'{"segment_id":""}', {}, b"bad"),
    events.Message(b"\xff\xfe" * 500, {"ce_type": b"\xff"}, b"bad"),
    events.binary("a-segment-of-nobody"),
    events.binary("any", type_="something.else.v1"),
]
PAGES = ("/", "/metrics", "/metrics", "/api/runs", "/api/exports", "/livez", "/readyz")
# What has ended a while ago is made to be old, so that housekeeping deletes it.
AGE = f"""
update klaviyo.request set ended_at = ended_at - interval '40 days'
where ended_at between now() - interval '1 day' and now() - interval '{AGE_AFTER}';
update klaviyo.run set finished_at = finished_at - interval '40 days'
where finished_at between now() - interval '1 day' and now() - interval '{AGE_AFTER}';
update klaviyo.task set created_at = created_at - interval '2 days'
where created_at between now() - interval '1 day' and now() - interval '{AGE_AFTER}';
update klaviyo.task_worker set seen_at = seen_at - interval '2 days'
where seen_at between now() - interval '1 day' and now() - interval '{AGE_AFTER}'
"""


def make_targets(world: World) -> list[Target]:
    """Of three accounts: large and small, keeping and removing, one list for two, refused rows."""
    found: list[Target] = []
    for account in add_accounts(world, 3):
        n = account.number
        found += [Target(account, f"small-{n}-{i}", 300) for i in range(3)]
        found += [Target(account, f"leaving-{n}-{i}", 300, "remove") for i in range(2)]
        found.append(Target(account, f"large-{n}", 12_000, "remove" if n == 1 else "keep"))
        found.append(Target(account, f"refusing-{n}", 200, refused=5))
        if n == 1:
            found += [Target(account, f"sharing-{i}", 300, "remove", "shared") for i in range(2)]
            found.append(Target(account, GUARDED, 100))
    return [target.add_to(world) for target in found]


@dataclass(frozen=True)
class Beat:
    """Something done every so many seconds, give or take a half."""

    name: str
    every_seconds: float
    work: Callable[[], None]


class Load:
    """start() it; run() it; stop() it. `failures` says what went wrong, `done` how often what was done."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.targets = make_targets(world)
        self.steady = [t for t in self.targets if t.name != GUARDED]
        self.by_name = {t.name: t for t in self.targets}
        self.done: Counter[str] = Counter()
        self.command_ms: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.workers: list[Worker] = []
        self._values = itertools.count(1)
        self._lists_left: list[str] = []
        self._visitors = itertools.count(1)
        self._over = threading.Event()
        self._undelivered: list[str] = []
        self._producer = Producer({"bootstrap.servers": world.kafka.address, "log_level": 2})
        self._granted = make_login(world.db, "mo", "klaviyo_contributor")
        world.simulator.control("PUT", "rejects", {"suffix": f"@{REFUSED}", "stage": "import-error"})
        self._threads = [threading.Thread(target=self._keep, args=(b,)) for b in self._beats()]

    def _beats(self) -> list[Beat]:
        return [
            Beat("change", 0.8, self._change),
            Beat("bad event", 7, self._bad_event),
            Beat("person", 4, Person(self).act),
            Beat("scrape", 0.5, self._scrape),
            Beat("fault", 15, self._fault),
            Beat("guarded run and replay", 45, self._fail_and_replay),
            Beat("visiting export", 25, self._visit),
            Beat("pause", 40, self._pause),
            Beat("share", 30, self._share),
            Beat("rotated key", 90, self._rotate),
            Beat("grant", 60, self._grant),
            Beat("aging", 20, self._age),
        ]

    def start(self) -> None:
        self.workers = [self.world.start_worker(**SETTINGS) for _ in range(STEADY_WORKERS + 1)]
        for worker in self.workers:
            worker.wait_ready()
        self.publish(*self.targets)
        for thread in self._threads:
            thread.start()

    def run(self, seconds: float) -> None:
        """In the thread that lives longest: a worker is killed when the one that started it ends."""
        end = threading.Timer(seconds, self._over.set)
        end.start()
        self._keep(Beat("restart", 150, self._restart))

    def stop(self) -> None:
        for thread in self._threads:
            thread.join(120)
        self._producer.flush(30)
        self.failures += self._undelivered
        self.world.simulator.clear_faults()

    def _keep(self, beat: Beat) -> None:
        chance = random.Random(beat.name)
        while not self._over.wait(beat.every_seconds * chance.uniform(0.5, 1.5)):
            try:
                beat.work()
            except Exception:
                self.failures.append(f"{time.strftime('%X')} {beat.name}: {traceback.format_exc(limit=-3)}")
            self.done[beat.name] += 1

    # -- what others use, too

    def command(self, *words: str, stdin: str = "", ends: tuple[int, ...] = (0,)) -> Result:
        began = time.monotonic()
        result = self.world.command(*words, stdin=stdin)
        self.command_ms.append((began, 1000 * (time.monotonic() - began)))
        self.done[f"`{' '.join(words[:2])}`"] += 1
        assert result.rc in ends, f"`{result.command}` gave {result.rc}: {result.stderr}"
        return result

    def send(self, *messages: events.Message) -> None:
        for message in messages:
            self._producer.produce(
                self.world.topic,
                message.value,
                message.key,
                headers=dict(message.headers),
                on_delivery=lambda error, _: error and self._undelivered.append(str(error)),
            )
            self._producer.poll(0)

    def publish(self, *targets: Target, full: bool = False) -> None:
        self.send(*(events.binary(target.segment, full=full) for target in targets))

    # -- upstream

    def _change(self) -> None:
        chance, value = random.Random(), next(self._values)
        target = chance.choice(self.steady)
        with self.world.db.connect() as connection:
            target.change(connection, chance, value)
        self.publish(target, full=chance.random() < 0.05)

    def _bad_event(self) -> None:
        self.send(random.choice(BAD_EVENTS))

    # -- people

    def _fail_and_replay(self) -> None:
        """Its run is stopped by a guard, the letter of its event goes again and succeeds."""
        self.command("export", "update", GUARDED, "--max-profiles", "10")
        self.publish(self.by_name[GUARDED])
        reason = ("--reason", "over_profile_limit")

        def unsolved() -> bool:
            letters = self.command("dead-letters", "list", "--json").json
            return any(x["exports"] == GUARDED and not x["solved"] for x in letters)

        wait_until(unsolved, 60, "the guarded run's dead letter", 1)
        self.command("export", "update", GUARDED, "--max-profiles", "100000")
        self.command("dead-letters", "replay", *reason)
        wait_until(lambda: not unsolved(), 60, "the replayed event to succeed", 1)

    def _visit(self) -> None:
        """An export that comes, runs and goes, with everything that is its."""
        account = self.targets[0].account
        visitor = Target(account, f"visitor-{next(self._visitors)}", 100).add_to(self.world)
        self.publish(visitor)
        count = lambda: self.world.simulator.count(visitor.list_id) == visitor.rows  # noqa: E731
        wait_until(count, 120, f"the list of {visitor.name}", SLOW_POLL_SECONDS)
        self.command("export", "show", visitor.name)
        visitor.remove_from(self.world)
        # Somebody may be verifying this moment what its connection had: it goes with the next one.
        self._lists_left.append(visitor.list_id)
        if len(self._lists_left) > 1:
            self.world.simulator.remove_list(self._lists_left.pop(0))

    def _pause(self) -> None:
        target = random.choice(self.steady)
        self.command("export", "pause", target.name)
        time.sleep(2)
        self.command("export", "resume", target.name)
        self.publish(target)

    def _share(self) -> None:
        connection = random.choice(self.targets).account.connection
        self.command("connection", "update", connection, "--share", str(random.randint(50, 100)))

    def _rotate(self) -> None:
        account = random.choice(self.targets).account
        words = ("connection", "rotate-key", account.connection, "--api-key-file", "-")
        self.command(*words, stdin=account.key + "\n")

    def _grant(self) -> None:
        connection = random.choice(self.targets).account.connection
        self.command("connection", "grant", connection, self._granted.name)
        self.command("connection", "revoke", connection, self._granted.name)

    # -- monitoring

    def _scrape(self) -> None:
        worker = random.choice(self.workers)
        name = random.choice(self.steady).name
        page = random.choice([*PAGES, f"/export?name={name}", f"/run?id={random.randint(1, 3000)}"])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{page}", timeout=20) as got:
                self.done[f"{page.split('?')[0]} {got.status}"] += 1
                got.read()
        except urllib.error.HTTPError as refused:
            self.done[f"{page.split('?')[0]} {refused.code}"] += 1
            assert refused.code in (404, 503), f"{page}: {refused.code}"
            refused.read()
        except OSError:
            assert worker not in self.workers[:STEADY_WORKERS], f"{page} was not answered"

    # -- mischance

    def _fault(self) -> None:
        endpoint, action = random.choice(FAULTS)
        account = random.choice(self.targets).account
        self.world.simulator.fault(
            endpoint, action, times=random.randint(1, 3), account=account.id
        )

    def _restart(self) -> None:
        """The last worker ends, now as asked, now by a kill; another one takes its place."""
        worker = self.workers[-1]
        if self.done["restart"] % 2:
            worker.kill()
        else:
            worker.stop()
        self.workers[-1] = self.world.start_worker(**SETTINGS)
        self.workers[-1].wait_ready(60)

    def _age(self) -> None:
        self.world.db.execute(AGE)
        self.world.simulator.control("DELETE", "diary")

    # -- the end

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.process.send(signal.SIGTERM)
        for worker in self.workers:
            worker.stop()


class Person:
    """Somebody who looks at things, one command after the other."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._commands = self._choose()

    def act(self) -> None:
        # Tasks may have to be tried again: their worker may have been killed, or Klaviyo be away.
        self._load.command(*next(self._commands), ends=(0, TRY_AGAIN))

    def _choose(self) -> Iterator[tuple[str, ...]]:
        while True:
            target = random.choice(self._load.steady)
            connection = target.account.connection
            yield random.choice(
                [
                    ("export", "preview", target.name, "--json"),
                    ("export", "preview", target.name),
                    ("export", "verify", target.name, "--json"),
                    ("export", "show", target.name),
                    ("export", "list", "--json"),
                    ("connection", "verify", connection),
                    ("connection", "lists", connection),
                    ("connection", "show", connection),
                    ("connection", "list"),
                    ("member", "show", random.choice(target.pool)),
                    ("runs", "list", "--json"),
                    ("audit", "list"),
                    ("segment", "list"),
                    ("dead-letters", "list"),
                    ("publish", target.segment),
                    ("check",),
                ]
            )


def shown(counter: Counter[str]) -> str:
    return json.dumps(dict(counter.most_common()), indent=1)
