"""Whether a series of samples stayed where it was once everything had warmed up.

The first part of the time is warm-up and says nothing. What remains is cut into
thirds: the median of the last one is held against that of the first one. Medians, as
what is measured goes up and down with the load and with autovacuum.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP = 0.25
LEAST_SAMPLES = 6  # after the warm-up


@dataclass(frozen=True)
class Bound:
    """The last third may be so much more than the first one."""

    factor: float
    more: float

    def over(self, first: float) -> float:
        return first * self.factor + self.more


@dataclass(frozen=True)
class Trend:
    """What a series did after its warm-up."""

    first: float
    last: float
    most: float

    def within(self, bound: Bound) -> bool:
        return self.last <= bound.over(self.first)


def after_warm_up(samples: Sequence[float]) -> Sequence[float]:
    return samples[int(len(samples) * WARM_UP) :]


def trend(samples: Sequence[float]) -> Trend:
    seen = after_warm_up(samples)
    if len(seen) < LEAST_SAMPLES:
        raise ValueError(f"{len(seen)} samples after the warm-up: too few to say anything")
    third = len(seen) // 3
    return Trend(statistics.median(seen[:third]), statistics.median(seen[-third:]), max(seen))


def rates(totals: Sequence[float], window: int = 6) -> list[float]:
    """Of a total that only grows: what each window of samples added."""
    return [b - a for a, b in zip(totals, totals[window:], strict=False)]
