"""
What came of the requests of a load test.

Rules:

1. Every planned request ends as one of three: sent when it was due, late, or dropped. sent + late + dropped = planned.
2. Latency counts from the intended start, also of requests that had to wait for a connection or for the sender itself.
3. Why a request was late is kept apart: the sender was behind its own schedule (then nothing it measured can be
   trusted), or every connection was waiting for an answer (then the server was slow, or the connections too few).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from softlaunch.core.stats import quantiles

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_MS_SECONDS = 1e3
_US_SECONDS = 1e6


class Tally:
    """
    Counts of one load test while it runs.

    Args:
        planned: How many requests there shall be.
        late_seconds: A request that starts later than this after it was due is late.
    """

    def __init__(self, *, planned: int, late_seconds: float) -> None:
        self._planned = planned
        self._late_seconds = late_seconds
        self._sent = 0
        self._late_sender = 0
        self._late_connections = 0
        self._dropped = 0
        self._answered = 0
        self._errors: collections.Counter[str] = collections.Counter()
        self._intended = quantiles.LatencyHistogram()
        self._started = quantiles.LatencyHistogram()
        self._lag = quantiles.LatencyHistogram()

    @property
    def started_count(self) -> int:
        """Requests that were given to a connection, when they were due or late."""
        return self._sent + self._late_sender + self._late_connections

    @property
    def open_count(self) -> int:
        """Requests that were started and have not ended."""
        return self.started_count - self._answered

    def due(self, *, intended: float, now: float) -> float:
        """The sender has come to a planned request; returns how far behind it was."""
        lag = max(0.0, now - intended)
        self._lag.add(lag * _US_SECONDS)
        return lag

    def started(self, *, intended: float, lag_seconds: float, now: float) -> None:
        """A request was given to a connection; `lag_seconds` is what `due` had said of it."""
        if lag_seconds > self._late_seconds:
            self._late_sender += 1
        elif now - intended > self._late_seconds:
            self._late_connections += 1
        else:
            self._sent += 1

    def dropped(self) -> None:
        """A request is given up before a connection was free for it."""
        self._dropped += 1

    def ended(self, *, intended: float, started: float, now: float, error: str = "") -> None:
        """A request was answered, or will not be; `error` says what is wrong with the answer, empty: nothing."""
        self._answered += 1
        self._intended.add((now - intended) * _US_SECONDS)
        self._started.add((now - started) * _US_SECONDS)
        if error:
            self._errors[error] += 1

    def quantile_ms(self, probability: float) -> float | None:
        """Latency so far, from the intended start; None before the first answer."""
        return _quantile_ms(self._intended, probability)

    def document(self) -> dict[str, Any]:
        """Counts and quantiles as JSON; latencies in milliseconds, at most 1.5 % too high."""
        return {
            "planned": self._planned,
            "sent": self._sent,
            "late": self._late_sender + self._late_connections,
            "late_by": {"sender": self._late_sender, "connections": self._late_connections},
            "late_ms_from": self._late_seconds * _MS_SECONDS,
            "dropped": self._dropped,
            "errors": dict(self._errors.most_common()),
            "latency_ms": _quantiles(self._intended),
            "latency_ms_from_send": _quantiles(self._started),
            "lag_ms": _quantiles(self._lag),
        }


def _quantiles(found: quantiles.LatencyHistogram) -> dict[str, float | None]:
    return {name: _quantile_ms(found, probability) for name, probability in QUANTILES.items()}


def _quantile_ms(found: quantiles.LatencyHistogram, probability: float) -> float | None:
    return found.quantile(probability) / 1e3 if found.count else None
