"""When the requests of an open loop start: offsets in seconds from the start of the run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from softlaunch.testing import outcomes


def steady(rate_per_second: float) -> Iterator[float]:
    """Endless offsets in seconds, evenly spaced."""
    _check_rate(rate_per_second)
    return (number / rate_per_second for number in itertools.count())


def poisson(rate_per_second: float, *, seed: int) -> Iterator[float]:
    """Endless offsets in seconds, with exponential gaps: independent users."""
    _check_rate(rate_per_second)
    chance = random.Random(seed)
    return itertools.accumulate((chance.expovariate(rate_per_second) for _ in itertools.count()), initial=0.0)


def _check_rate(rate_per_second: float) -> None:
    if not 0 < rate_per_second < float("inf"):
        raise outcomes.unusable(f"{rate_per_second} requests per second are no rate.")
