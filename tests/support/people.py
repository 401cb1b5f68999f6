"""Segments made up for tests, with what must become of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BLANKS = " \t\n\v\f\r\u00a0\u200b\u2060\ufeff"  # trimmed at both ends of an address
PROFILE_LIMIT_BYTES = 100_000

MISSING: list[Any] = [None, "", " ", " \t\r\n"]
NOT_A_STRING: list[Any] = [42, True, ["a@example.test"], {"email": "a@example.test"}]
MALFORMED = [
    "plain{n}",
    "two@at{n}@example.test",
    "@example{n}.test",
    "nobody{n}@",
    ".dot{n}@example.test",
    "dot{n}.@example.test",
    "do..t{n}@example.test",
    "a{n}@localhost",
    "a{n}@-example.test",
    "a{n}@example-.test",
    "a{n}@example..test",
    "a{n}@example.t",
    "a{n}@example.123",
    "a b{n}@example.test",
    '"quoted{n}"@example.test',
    "a{n}@exam_ple.test",
    "a{n}@[192.0.2.1]",
]
NOT_ASCII = ["jürgen{n}@example.test", "a{n}@exämple.test", "a{n}\u00a0@example.test", "Å{n}"]
TOO_LONG = [
    "l" * 60 + "{n:05d}@example.test",
    "a{n:05d}@" + ("d" * 60 + ".") * 4 + "example.test",
]


@dataclass
class Population:
    """Members of one segment. `wanted`: address on the list → the profile that wins it."""

    members: list[tuple[str, str]] = field(default_factory=list)
    wanted: dict[str, str] = field(default_factory=dict)
    invalid: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0

    @property
    def selected(self) -> int:
        return len(self.wanted)

    def expected_counts(self) -> dict[str, int]:
        """What a first run over it must count."""
        return {
            "read": len(self.members),
            "invalid": self.invalid.total(),
            "duplicate": self.duplicates,
            "unchanged": 0,
            "selected": self.selected,
        }


class Maker:
    """Adds members of every kind to a population; the same seed makes the same people."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.population = Population()
        self._ids: Iterator[str] = self._unique_ids()
        self._number = 0

    def _unique_ids(self) -> Iterator[str]:
        """Ids in no order, so that neither the first nor the last one made always wins."""
        seen: set[int] = set()
        while True:
            number = self._random.getrandbits(40)
            if number not in seen:
                seen.add(number)
                yield f"p-{number:010x}"

    def _add(self, email: Any, **more: Any) -> str:
        profile = next(self._ids)
        attributes: dict[str, Any] = {**more}
        if email is not None or self._random.random() < 0.5:
            attributes["email"] = email
        self.population.members.append((profile, json.dumps(attributes, ensure_ascii=False)))
        return profile

    def _next(self) -> int:
        self._number += 1
        return self._number

    def valid(self, count: int) -> None:
        for _ in range(count):
            n = self._next()
            address = f"user{n}@shop{n % 97}.example"
            self.population.wanted[address] = self._add(address, **attributes_of(n))

    def _respelled(self, address: str) -> str:
        letters = [c.upper() if self._random.random() < 0.3 else c for c in address]
        blanks = [self._random.choice(["", *BLANKS]) for _ in range(2)]
        spelling = blanks[0] + "".join(letters) + blanks[1]
        return spelling if spelling != address else address.upper()

    def duplicates(self, count: int) -> None:
        """Another spelling of an address that is there; the lowest profile id wins it."""
        addresses = list(self.population.wanted)
        for _ in range(count):
            address = self._random.choice(addresses)
            profile = self._add(self._respelled(address), **attributes_of(self._next()))
            winner = self.population.wanted[address]
            self.population.wanted[address] = min(winner, profile)
            self.population.duplicates += 1

    def _invalid(self, reason: str, email: Any) -> None:
        self._add(email, **attributes_of(self._next()))
        self.population.invalid[reason] += 1

    def missing(self, count: int) -> None:
        for i in range(count):
            self._invalid("email_missing", MISSING[i % len(MISSING)])

    def malformed(self, count: int) -> None:
        for i in range(count):
            if i % 5 == 0:
                self._invalid("email_malformed", NOT_A_STRING[i // 5 % len(NOT_A_STRING)])
            else:
                self._invalid("email_malformed", self._pattern(MALFORMED, i))

    def not_ascii(self, count: int) -> None:
        for i in range(count):
            self._invalid("email_not_ascii", self._pattern(NOT_ASCII, i))

    def too_long(self, count: int) -> None:
        for i in range(count):
            self._invalid("email_too_long", self._pattern(TOO_LONG, i))

    def _pattern(self, patterns: list[str], i: int) -> str:
        return patterns[i % len(patterns)].format(n=self._next())

    def too_large(self, count: int) -> None:
        """Profiles over the limit by themselves, once `biography` is mapped."""
        for _ in range(count):
            n = self._next()
            self._add(f"large{n}@example.test", biography="x" * PROFILE_LIMIT_BYTES)
            self.population.invalid["profile_too_large"] += 1


def attributes_of(n: int) -> dict[str, Any]:
    """Attributes of many JSON types, for properties."""
    return {
        "first_name": f'Zoë "{n}" \\ O\'Neil',
        "points": n,
        "score": n / 4,
        "vip": n % 2 == 0,
        "tags": [f"t{n % 7}", "ünïcode ✓"],
        "address": {"city": f"City {n % 50}", "zip": f"{n % 100000:05d}"},
        "nothing": None,
    }


def simple(count: int, seed: int = 1) -> Population:
    """Valid members only."""
    maker = Maker(seed)
    maker.valid(count)
    return maker.population


def mixed(total: int, seed: int = 1, too_large: int = 20) -> Population:
    """10 % duplicates in other spellings, 1 % bad addresses of each reason, some too large."""
    percent = total // 100
    maker = Maker(seed)
    maker.valid(total - 14 * percent - too_large)
    maker.duplicates(10 * percent)
    maker.missing(percent)
    maker.malformed(percent)
    maker.not_ascii(percent)
    maker.too_long(percent)
    maker.too_large(too_large)
    return maker.population
