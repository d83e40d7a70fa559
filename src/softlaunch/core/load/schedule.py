"""When the requests of a load test shall start: fixed before the first is sent, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.core import verify_specs

REQUEST_COUNT_MAX = 2_000_000
"""Of one load test; a guess: what an hour at 500/s needs, and 16 MB of offsets."""


def offsets(arrivals: verify_specs.Arrivals, *, rate: float, duration_seconds: float, seed: int) -> Sequence[float]:
    """
    Seconds from the start of the test, ascending, rate x duration of them.

    Args:
        arrivals: POISSON: the arrivals of a Poisson process, given how many there are; these are sorted uniforms.
        rate: Requests per second, > 0.
        duration_seconds: > 0.
        seed: Of POISSON.

    Raises:
        InvariantError: a rate or a duration that plans nothing, or too much; the parser lets none through.
    """
    planned = round(rate * duration_seconds) if rate > 0.0 and duration_seconds > 0.0 else 0
    if not 0 < planned <= REQUEST_COUNT_MAX:
        raise errors.InvariantError(f"{rate} requests per second for {duration_seconds} s are no load test.")
    if arrivals is verify_specs.Arrivals.CONSTANT:
        return [number / rate for number in range(planned)]
    chance = random.Random(seed)
    return sorted(chance.random() * duration_seconds for _ in range(planned))
