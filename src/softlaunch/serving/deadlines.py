"""Until when an answer is of use to whoever asked."""

from __future__ import annotations

import functools
import math
from typing import Any

_CLIENT = "x-softlaunch-deadline-ms"
_ENVOY = "x-envoy-expected-rq-timeout-ms"
"""Of this try: Envoy has given up after it, and may have asked somebody else."""
_GRPC = "grpc-timeout"
_DIGITS_MAX = 9
_GRPC_SECONDS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def of(headers: Any, now: float) -> float:
    """
    The earliest deadline in the headers of a request by gRPC, on the clock of `now`; infinity when there is none.

    What cannot be read is no deadline: a request is better answered late than refused for a header.
    """
    left = of_http(headers, now)
    text = headers.get(_GRPC)
    return left if text is None else min(left, now + _grpc_seconds(text))


def of_http(headers: Any, now: float) -> float:
    """As `of`, without gRPC's own header: every one that is looked for costs the hot path a third of a microsecond."""
    left = math.inf
    text = headers.get(_CLIENT)
    if text is not None:
        left = _milliseconds(text)
    text = headers.get(_ENVOY)
    if text is not None:
        left = min(left, _milliseconds(text))
    return now + left


# Most requests say the same: Envoy's is the route's timeout.
@functools.lru_cache(maxsize=1_024)
def _milliseconds(text: str) -> float:
    return int(text) / 1e3 if text.isdecimal() and len(text) <= _DIGITS_MAX else math.inf


@functools.lru_cache(maxsize=1_024)
def _grpc_seconds(text: str) -> float:
    digits, unit = text[:-1], _GRPC_SECONDS.get(text[-1:])
    return int(digits) * unit if unit is not None and digits.isdecimal() and len(digits) <= _DIGITS_MAX else math.inf
