"""
How slow is stable? A latency histogram with bins 1.5 % wide, which adds up over processes and days without error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from softlaunch import errors

_GROWTH = 1.015
"""Width of a bin: a quantile is at most this factor too high. 1 us to 1 h fit in 1,500 bins, of which few are used."""

_LOG_GROWTH = math.log(_GROWTH)
_INDEX_MAX = 2_000
"""Above 1.015^2000 us, over two months: nothing is that slow, and a broken clock must not make a new bin each time."""


class LatencyHistogram:
    """Counts of latencies in microseconds, in bins of equal ratio."""

    __slots__ = ("_bins", "_count")

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many latencies were added."""
        return self._count

    def add(self, latency_us: float) -> None:
        """Count one latency; below 1 us it counts as 1 us."""
        index = min(math.ceil(math.log(latency_us) / _LOG_GROWTH), _INDEX_MAX) if latency_us > 1.0 else 0
        self._bins[index] = self._bins.get(index, 0) + 1
        self._count += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add everything the other one counted."""
        for index, count in other._bins.items():
            self._bins[index] = self._bins.get(index, 0) + count
        self._count += other._count

    def quantile(self, probability: float) -> float:
        """
        The smallest bin edge, in microseconds, at or below which at least `probability` of the latencies lie.

        Raises:
            InvariantError: the histogram is empty or the probability is outside (0, 1].
        """
        if self._count == 0 or not 0.0 < probability <= 1.0:
            raise errors.InvariantError(f"no quantile {probability} of {self._count} latencies.")
        needed = math.ceil(probability * self._count - 1e-9)
        seen = 0
        for index in sorted(self._bins):
            seen += self._bins[index]
            if seen >= needed:
                return math.exp(index * _LOG_GROWTH)
        raise errors.InvariantError(f"a histogram of {self._count} latencies holds only {seen}.")

    def to_json(self) -> dict[str, Any]:
        """A small JSON object; `from_json` makes an equal histogram of it."""
        return {"growth": _GROWTH, "bins": [[index, self._bins[index]] for index in sorted(self._bins)]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LatencyHistogram:
        """
        The histogram `to_json` wrote.

        Raises:
            InvariantError: it was written with other bins.
        """
        if document["growth"] != _GROWTH:
            raise errors.InvariantError(f"a latency histogram with bins of ratio {document['growth']}, not {_GROWTH}.")
        histogram = cls()
        for index, count in document["bins"]:
            histogram._bins[int(index)] = int(count)
            histogram._count += int(count)
        return histogram
