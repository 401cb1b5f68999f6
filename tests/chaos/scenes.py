"""Many accounts, exports and segments in one world, and what must become of them."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from support import events
from support.upstream import points_on_list, take_out_members, write_members
from support.world import World

BATCH_ROWS, BATCH_BYTES = 10_000, 5_000_000
REQUEST_SECONDS = 15  # what a worker, frozen in between, may still send of what it knew
# As who works with a site's database sets for himself, whatever the site's defaults are.
OWN_SETTINGS = b"""
set session characteristics as transaction isolation level read committed;
set lock_timeout = 0; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0
"""


@dataclass
class Account:
    """A Klaviyo account with a connection of its own."""

    number: int
    lists: dict[str, str] = field(default_factory=dict)  # id → name

    @property
    def id(self) -> str:
        return f"Acct{self.number}"

    @property
    def key(self) -> str:
        return f"pk_planted0secret0key0of0account{self.number:04d}"

    @property
    def connection(self) -> str:
        return f"account-{self.number}"

    def add_to(self, world: World) -> Account:
        world.simulator.add_account(self.id)
        world.simulator.add_key(self.key, self.id)
        world.add_connection(self.connection, self.key)
        return self


@dataclass
class Export:
    """An export with a list and a segment of its own."""

    account: Account
    number: int
    rows: int
    removes: bool = False  # who leaves the segment is taken off the list
    is_still: bool = False  # nobody changes the segment
    points: dict[str, int] = field(default_factory=dict)  # address → property, as upstream has it
    left: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)  # points and the database agree

    @property
    def name(self) -> str:
        return f"{self.account.connection}.{self.number}"

    @property
    def list_id(self) -> str:
        return f"List{self.account.number}x{self.number}"

    @property
    def segment(self) -> str:
        return f"segment-{self.account.number}-{self.number}"

    def _profile(self, address: str) -> str:
        return f"{self.segment}.{address.split('@')[0]}"

    def add_to(self, world: World) -> Export:
        world.simulator.add_list(self.list_id, self.account.id, self.name)
        self.account.lists[self.list_id] = self.name
        fields = ["--property", "points=points"]
        world.add_export(
            self.name,
            *(("--on-leave", "remove", "--size-guard", "off") if self.removes else ()),
            segments=(self.segment,),
            list_id=self.list_id,
            connection=self.account.connection,
            mapping=fields,
        )
        for n in range(self.rows):
            self.points[f"p{n}@{self.segment}.example"] = 0
        return self

    def rows_for_database(self) -> Iterator[tuple[str, str]]:
        for address, points in self.points.items():
            yield self._profile(address), json.dumps({"email": address, "points": points})

    def change(
        self,
        connection: psycopg.Connection[Any],
        points: int,
        addresses: list[str],
        leavers: Set[str] = frozenset(),
    ) -> None:
        """Upstream changes these members, takes in those that are new, and lets others go."""
        changes = dict.fromkeys(addresses, points)
        with self.lock:
            self.write(connection, changes, leavers)
            self.points.update(changes)
            for address in leavers:
                del self.points[address]
            self.left = (self.left - changes.keys()) | leavers

    def write(
        self, connection: psycopg.Connection[Any], changes: dict[str, int], leavers: Set[str]
    ) -> None:
        """These members, as the database that exports are read from has them."""
        members = [(self._profile(address), address, points) for address, points in changes.items()]
        write_members(connection, self.segment, members)
        take_out_members(connection, self.segment, map(self._profile, leavers))

    def found(self, world: World) -> dict[str, int]:
        """What is on the list: address → property."""
        return points_on_list(world, self.list_id)


def add_accounts(world: World, count: int) -> list[Account]:
    return [Account(n).add_to(world) for n in range(1, count + 1)]


def add_exports(world: World, exports: list[Export]) -> list[Export]:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda export: export.add_to(world), exports))
    names = ((export.segment, export.segment) for export in exports)
    world.db.copy("insights.segment (segment_id, name)", names)
    profiles = [row for export in exports for row in export.rows_for_database()]
    world.db.copy("insights.customer_profile (profile_id, attributes)", profiles)
    members = ((profile.rsplit(".", 1)[0], profile) for profile, _ in profiles)
    world.db.copy("insights.segment_member (segment_id, profile_id)", members)
    world.db.execute("analyze insights.customer_profile, insights.segment_member")
    return exports


def refresh(world: World, *exports: Export, full: bool = False) -> None:
    world.publish(*(events.binary(export.segment, full=full) for export in exports))


def check_lists(
    world: World, exports: list[Export], set_backs: list[SetBack] | None = None
) -> None:
    """Every list holds what its segment holds, with its newest values.

    A database that was set back does not know of whom it put on a list since.
    """
    for export in exports:
        found = export.found(world)
        wrong = {a for a, points in export.points.items() if found.get(a) != points}
        unmatched = found.keys() - export.points.keys() - (export.left if set_backs else set())
        assert not wrong and not unmatched, (
            f"{export.list_id}: {len(wrong)} of {len(export.points)} wrong or missing"
            f" ({sorted(wrong)[:3]}), {len(unmatched)} unmatched"
        )


def check_requests(world: World) -> None:
    """Nothing that was ever asked of Klaviyo is forbidden or over a limit."""
    for entry in world.simulator.diary():
        assert not entry.get("forbidden"), entry
        if entry["endpoint"] == "import":
            assert (entry["profiles"] or 0) <= BATCH_ROWS, entry
            assert entry["bytes"] <= BATCH_BYTES, entry


def repeated_imports(world: World) -> list[str]:
    """Bodies that Klaviyo accepted more than once."""
    accepted = [e["sha256"] for e in world.simulator.diary("import") if e["status"] == 202]
    return [body for body, times in Counter(accepted).items() if times > 1]


@dataclass(frozen=True)
class SetBack:
    """The database was stopped, and went on from a copy that was begun earlier."""

    copied_at: float
    stopped_at: float
    ready_at: float

    def forgot(self, entry: dict[str, Any]) -> bool:
        """Whether that import may have gone on in Klaviyo without a worker that knows of it."""
        return bool(
            entry["at"] < self.ready_at + REQUEST_SECONDS and entry["done_at"] > self.stopped_at
        )


def overtaken_exports(
    world: World, exports: list[Export], set_backs: list[SetBack] | None = None
) -> list[Export]:
    """Whose import came late, and newer rows passed it.

    Its connection broke and it was sent again, or the database has forgotten it.
    """
    repeated = set(repeated_imports(world))
    accepted = [e for e in world.simulator.diary("import") if e["status"] == 202]
    lists = {
        late["list"]
        for late in accepted
        for newer in accepted
        if (late["sha256"] in repeated or any(s.forgot(late) for s in set_backs or []))
        and newer["list"] == late["list"]
        and newer["sha256"] != late["sha256"]
        and newer["at"] > late["at"]
        and newer["done_at"] < late["done_at"]
    }
    return [export for export in exports if export.list_id in lists]


def forgotten_removals(
    world: World, exports: list[Export], set_backs: list[SetBack]
) -> list[Export]:
    """Of which it is not known any more whom it took off: who comes back is thought to be there."""
    lists = {
        entry["list"]
        for entry in world.simulator.diary("list-remove")
        if any(
            s.copied_at < entry["done_at"] and entry["at"] < s.ready_at + REQUEST_SECONDS
            for s in set_backs
        )
    }
    return [export for export in exports if export.list_id in lists]


class Publisher:
    """Upstream at work in a thread of its own: changes segments and says so."""

    def __init__(self, world: World, exports: list[Export], pause_seconds: float) -> None:
        self._world = world
        self._exports = itertools.cycle(exports)
        self._pause_seconds = pause_seconds
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with self._world.db.connect() as connection:
                for points in itertools.count(1):
                    export = next(self._exports)
                    addresses = [*export.points][: 1 + points % 20]
                    export.change(connection, points, addresses)
                    refresh(self._world, export)
                    if self._over.wait(self._pause_seconds):
                        return
        except BaseException as failure:
            self._failure = failure

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        assert self._failure is None, self._failure
