"""Until when an answer is of use to whoever asked."""

from __future__ import annotations

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
    The earliest deadline in the request's headers, on the clock of `now`; infinity when there is none.

    What cannot be read is no deadline: a request is better answered late than refused for a header.
    """
    left = math.inf
    for name in (_CLIENT, _ENVOY):
        text = headers.get(name)
        if text is not None and text.isdecimal() and len(text) <= _DIGITS_MAX:
            left = min(left, int(text) / 1e3)
    text = headers.get(_GRPC)
    if text:
        digits, unit = text[:-1], _GRPC_SECONDS.get(text[-1])
        if unit is not None and digits.isdecimal() and len(digits) <= _DIGITS_MAX:
            left = min(left, int(digits) * unit)
    return now + left
