"""What is judged flat is flat, and what grows is found."""

from __future__ import annotations

import random

import pytest
from soak.flat import Bound, rates, trend

BOUND = Bound(1.05, 2)


def noisy(values: list[float]) -> list[float]:
    noise = random.Random(1)
    return [value + noise.uniform(-3, 3) for value in values]


def test_what_goes_up_and_down_is_flat() -> None:
    assert trend(noisy([100.0] * 300)).within(BOUND)


def test_what_grows_during_warm_up_alone_is_flat() -> None:
    assert trend(noisy([min(100.0, 2.0 * n) for n in range(300)])).within(BOUND)


def test_what_grows_slowly_all_the_time_is_not() -> None:
    assert not trend(noisy([100 + 0.1 * n for n in range(300)])).within(BOUND)


def test_one_high_sample_is_no_growth() -> None:
    samples = noisy([100.0] * 300)
    samples[-5] = 900
    seen = trend(samples)
    assert seen.within(BOUND) and seen.most == 900


def test_too_few_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend([1.0] * 6)


def test_rates_of_a_total() -> None:
    assert rates([0, 1, 2, 4, 8], window=2) == [2, 3, 6]
