"""A random walk of everything that can happen to a list that follows its segments, against a naive model.

MIRROR_ROUNDS  how many rounds (6; 200 in the long form)
MIRROR_SEED    where the walk begins (1)
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass, field

import pytest

from support import klaviyo
from support.world import LIST, World, check_sums

ROUNDS = int(os.environ.get("MIRROR_ROUNDS", "6"))
SEED = int(os.environ.get("MIRROR_SEED", "1"))
SEGMENTS = {"one": "red", "two": "blue"}  # by export; both to the same list
SHORT_LEASE = {"LEASE_SECONDS": "2"}
REFUSED = "refused"  # Klaviyo does not import addresses that begin so
POINTS = [
    "plan_batch.after", "leavers.after", "end_plan.before", "request.before", "answer.after", "mark_sent.before",
    "confirm.before", "confirm.after", "claim_list.after", "release_held.after", "fetch_leavers.after",
    "leavers_removed.before", "leavers_removed.after", "end_run.before",
]  # fmt: skip


@dataclass
class Export:
    """What it must have put on the list, as its last run left it."""

    members: dict[str, str] = field(default_factory=dict)  # profile → address as stored, perhaps a bad one
    there: set[str] = field(default_factory=set)


def is_sent(address: str) -> bool:
    return "@" in address and not address.startswith(REFUSED)


class Walk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.random = random.Random(SEED)
        self.exports = {name: Export() for name in SEGMENTS}
        self.list: set[str] = set()  # what must be on it
        self.by_hand: set[str] = set()  # touched in Klaviyo: not changed while a run is interrupted
        self.numbers = iter(range(1, 1_000_000))

    # -- upstream --

    def _write_member(self, export: str, profile: str) -> None:
        address = self.exports[export].members[profile]
        self.world.db.execute(
            "insert into insights.customer_profile values (%s, %s::jsonb)"
            " on conflict (profile_id) do update set attributes = excluded.attributes",
            profile, json.dumps({"email": address, "points": self.random.randrange(5)}),
        )  # fmt: skip
        self.world.db.execute(
            "insert into insights.segment_member values (%s, %s) on conflict do nothing", SEGMENTS[export], profile
        )

    def _new_address(self) -> str:
        number = next(self.numbers)
        kind = self.random.random()
        if kind < 0.08:
            return f"bad{number}"
        if kind < 0.16:
            return f"{REFUSED}{number}@example.test"
        return f"p+{number}@example.test"

    def join(self, export: str) -> None:
        profile = f"profile-{next(self.numbers):06d}"
        self.exports[export].members[profile] = self._new_address()
        self._write_member(export, profile)

    def share(self, export: str) -> None:
        """Somebody of the one segment is in the other, too."""
        other = "two" if export == "one" else "one"
        if not self.exports[other].members:
            return
        profile, address = self.random.choice(sorted(self.exports[other].members.items()))
        self.exports[export].members[profile] = address
        self._write_member(export, profile)

    def leave(self, export: str, interrupted: bool = False) -> None:
        members = self.exports[export].members
        may = [p for p, a in sorted(members.items()) if not (interrupted and a in self.by_hand)]
        if len(members) < 12 or not may:
            return
        profile = self.random.choice(may)
        del members[profile]
        self.world.db.execute(
            "delete from insights.segment_member where segment_id = %s and profile_id = %s", SEGMENTS[export], profile
        )

    def move(self, export: str) -> None:
        """A new address; wherever the profile is."""
        members = self.exports[export].members
        if not members:
            return
        profile, address = self.random.choice(sorted(members.items())), self._new_address()
        for other in self.exports.values():
            if profile[0] in other.members:
                other.members[profile[0]] = address
        self._write_member(export, profile[0])

    def change(self, export: str) -> None:
        for profile in sorted(self.exports[export].members):
            if self.random.random() < 0.3:
                self._write_member(export, profile)

    def change_upstream(self) -> None:
        for export in SEGMENTS:
            for _ in range(self.random.randrange(1, 6)):
                self.join(export)
            for _ in range(self.random.randrange(0, 6)):
                self.leave(export)
            for action in (self.share, self.move, self.change):
                if self.random.random() < 0.7:
                    action(export)

    # -- in Klaviyo --

    def work_by_hand(self) -> None:
        if self.random.random() < 0.6:
            address = klaviyo.create(self.world.simulator, f"by.hand{next(self.numbers)}@example.test")
            klaviyo.put_on(self.world.simulator, LIST, address)
            self.list.add(address)
        theirs = sorted(self.list)
        if theirs and self.random.random() < 0.6:
            address = self.random.choice(theirs)
            klaviyo.take_off(self.world.simulator, LIST, address)
            self.list.discard(address)
            self.by_hand.add(address)

    def break_answers(self) -> None:
        for endpoint in ("import", "list-remove", "profiles", "job"):
            if self.random.random() < 0.3:
                when = self.random.choice(["before", "after"])
                self.world.simulator.fault(endpoint, {"reset": when}, times=1)
            if self.random.random() < 0.2:
                self.world.simulator.fault(endpoint, {"status": 503}, times=self.random.randrange(1, 3))

    # -- the model --

    def follow(self, name: str, full: bool) -> None:
        export, other = self.exports[name], self.exports["two" if name == "one" else "one"]
        wanted = {address for address in export.members.values() if is_sent(address)}
        self.list |= wanted if full else wanted - export.there
        self.list -= export.there - wanted - other.there
        export.there = wanted

    # -- a round --

    def crash(self) -> None:
        """The worker dies somewhere; upstream goes on meanwhile."""
        world = self.world
        world.workers[-1].kill()
        if self.random.random() < 0.7:
            point = f"{self.random.choice(POINTS)}:{self.random.randrange(1, 3)}"
            world.start_worker(**SHORT_LEASE, KLAVIYO_FAILPOINT=point).wait_ready()
            return
        world.start_worker(**SHORT_LEASE).wait_ready()
        time.sleep(self.random.random())  # a moment of no meaning
        world.workers[-1].kill()

    def refresh(self, full: bool) -> None:
        for segment in SEGMENTS.values():
            self.world.refresh(segment, full=full)

    def settle(self, runs: int) -> bool:
        """Until the runs have ended, with as many workers as it takes. True: upstream changed meanwhile."""
        world = self.world
        changed = False
        deadline = time.monotonic() + 90
        while not self._ended(runs):
            assert time.monotonic() < deadline, world.runs()
            if not world.workers[-1].process.running:
                for export in SEGMENTS:
                    self.join(export)
                    self.leave(export, interrupted=True)
                changed = True
                world.start_worker(**SHORT_LEASE).wait_ready()
            time.sleep(0.1)
        return changed

    def _ended(self, runs: int) -> bool:
        states = self.world.db.rows("select finished_at is not null from klaviyo.run")
        return len(states) >= runs and all(ended for (ended,) in states)

    def check(self, number: int) -> None:
        for run in self.world.runs("--limit", "2"):
            counts = run["counts"]
            assert run["state"].startswith("succeeded") and run["reason"] is None, run
            assert counts["left"] == counts["removed"] + counts["kept"], run
            check_sums(run)
        on_list = self.world.simulator.emails(LIST)
        assert on_list == self.list, (number, on_list - self.list, self.list - on_list)
        assert not self.world.simulator.diary("consent")

    def verify(self) -> None:
        """What `export verify` counts is what is there."""
        for name, export in self.exports.items():
            counts = self.world.admin("export", "verify", name, "--json").json["counts"]
            ours = len(self.list & export.there)
            assert (counts["profiles"], counts["ours"]) == (len(self.list), ours), (name, counts)
            assert counts["not_ours"] == len(self.list) - ours, (name, counts)

    def one_round(self, number: int) -> None:
        full = self.random.random() < 0.1
        runs = len(self.world.runs("--limit", "100000"))
        self.change_upstream()
        self.work_by_hand()
        self.break_answers()
        if self.random.random() < 0.5:
            self.crash()
        self.refresh(full)
        runs += 2
        while self.settle(runs):  # a run that had read its members before sees it next time
            self.refresh(full=False)
            runs += 2
        for name in SEGMENTS:
            self.follow(name, full)
        self.check(number)
        self.world.simulator.clear_faults()
        self.verify()


def set_up(world: World) -> Walk:
    world.add_connection()
    for export, segment in SEGMENTS.items():
        world.db.execute("insert into insights.segment values (%s, %s)", segment, segment)
        world.add_export(
            export, "--on-leave", "remove", segments=(segment,), mapping=["--property", "points=points"]
        )
    world.simulator.control("POST", "rejects", {"prefix": REFUSED, "stage": "import-error", "code": "invalid"})
    walk = Walk(world)
    for export in SEGMENTS:
        for _ in range(25):
            walk.join(export)
    world.start_worker(**SHORT_LEASE).wait_ready()
    return walk


@pytest.mark.timeout(120 + 40 * ROUNDS)
def test_whatever_happens_the_list_is_what_the_segments_say(world: World) -> None:
    walk = set_up(world)
    for number in range(ROUNDS):
        walk.one_round(number)
