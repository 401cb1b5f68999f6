"""The exports of a soak: their members come, change and leave; what their lists must hold."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from chaos.scenes import Account

from support.upstream import points_on_list, take_out_members, write_members
from support.world import World

REFUSED = "refused.example"  # addresses that Klaviyo refuses, each time
CHANGED = (0, 0, 1, 5, 50)  # how many at once; nobody as often as not
COMING_OR_GOING_MAX = 4
SPARE_PERCENT = 10  # addresses that are no members now


@dataclass
class Target:
    """An export with a segment of its own; at most so many addresses ever."""

    account: Account
    name: str
    rows: int
    leavers: str = "keep"
    list_name: str = ""  # several may share one
    refused: int = 0
    points: dict[str, int] = field(default_factory=dict)  # address → property, as upstream has it
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def segment(self) -> str:
        return f"segment-of-{self.name}"

    @property
    def list_id(self) -> str:
        return f"List-{self.list_name or self.name}"

    @property
    def pool(self) -> list[str]:
        return [f"p{n}@{self.name}.example" for n in range(self.rows + self.spare)]

    @property
    def spare(self) -> int:
        return self.rows * SPARE_PERCENT // 100

    def _profile(self, address: str) -> str:
        return f"{self.name}.{address.split('@')[0]}"

    def add_to(self, world: World) -> Target:
        """With all its members; what is invalid or refused is added."""
        world.simulator.add_list(self.list_id, self.account.id, self.name)
        self.points = dict.fromkeys(self.pool[: self.rows], 0)
        with world.db.connect() as connection, connection.transaction():
            connection.execute(
                "insert into insights.segment (segment_id, name) values (%s, %s)",
                (self.segment, self.name),
            )
            self._write(connection, {**self.points, **dict.fromkeys(self._unwanted(), 0)})
        world.add_export(
            self.name,
            "--on-leave",
            self.leavers,
            segments=(self.segment,),
            list_id=self.list_id,
            connection=self.account.connection,
            mapping=["--property", "points=points"],
        )
        return self

    def _unwanted(self) -> Iterator[str]:
        yield from (f"r{n}@{REFUSED}" for n in range(self.refused))
        yield f"malformed.{self.name}"

    def remove_from(self, world: World) -> None:
        """All but its list."""
        world.admin("export", "remove", self.name, "--yes")
        with world.db.connect() as connection, connection.transaction():
            connection.execute("delete from insights.segment where segment_id = %s", (self.segment,))
            connection.execute(
                "delete from insights.segment_member where segment_id = %s", (self.segment,)
            )
            connection.execute(
                "delete from insights.customer_profile where profile_id like %s", (f"{self.name}.%",)
            )

    def change(self, connection: psycopg.Connection[Any], chance: random.Random, value: int) -> None:
        """Upstream changes some, takes some in, lets some go; in one commit."""
        with self.lock:
            changed = self._some(chance, [*self.points], chance.choice(CHANGED))
            coming, gone = self._coming_and_gone(chance)
            new = dict.fromkeys([*changed, *coming], value)
            for address in gone:
                new.pop(address, None)
            with connection.transaction():
                self._write(connection, new)
                self._erase(connection, gone)
            self.points.update(new)
            for address in gone:
                del self.points[address]

    def _coming_and_gone(self, chance: random.Random) -> tuple[list[str], list[str]]:
        absent = [address for address in self.pool if address not in self.points]
        coming = self._some(chance, absent, chance.randint(0, COMING_OR_GOING_MAX))
        going = chance.randint(0, COMING_OR_GOING_MAX) if len(absent) < self.spare * 2 else 0
        return coming, self._some(chance, [*self.points], going)

    @staticmethod
    def _some(chance: random.Random, known: list[str], count: int) -> list[str]:
        return chance.sample(known, min(len(known), count))

    def _write(self, connection: psycopg.Connection[Any], changes: dict[str, int]) -> None:
        members = [(self._profile(address), address, points) for address, points in changes.items()]
        write_members(connection, self.segment, members)

    def _erase(self, connection: psycopg.Connection[Any], addresses: Iterable[str]) -> None:
        gone = [self._profile(address) for address in addresses]
        take_out_members(connection, self.segment, gone)
        connection.execute("delete from insights.customer_profile where profile_id = any(%s)", (gone,))


def wrong_on_lists(world: World, targets: list[Target]) -> list[str]:
    """Who is missing or has old values, and who is there and should not be; list by list."""
    complaints = []
    for list_id in sorted({target.list_id for target in targets}):
        users = [target for target in targets if target.list_id == list_id]
        found = points_on_list(world, list_id)
        wanted = {address: points for user in users for address, points in user.points.items()}
        allowed = {*wanted, *(a for user in users if user.leavers == "keep" for a in user.pool)}
        wrong = {address for address, points in wanted.items() if found.get(address) != points}
        strangers = found.keys() - allowed
        if wrong or strangers:
            complaints.append(
                f"{list_id}: {len(wrong)} of {len(wanted)} missing or old {sorted(wrong)[:3]},"
                f" {len(strangers)} too many {sorted(strangers)[:3]}"
            )
    return complaints
