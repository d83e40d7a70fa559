"""A source of features in memory: what tests of releases with lookups ask, and the shortest form of the protocol."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import lookup_values

_HANG_SECONDS_MAX = 30.0


class MemoryFeatures:
    """
    A serving.features.source.Source that answers what it was told.

    Attributes:
        asked: Every combination of values it was asked for, in order.
        failing: It raises instead of answering.
    """

    batch_count_max = 10

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.failing = False
        self._known: dict[tuple[tuple[str, Any], ...], Mapping[str, Any]] = {}
        self._going_on = threading.Event()
        self._going_on.set()

    def put(self, values: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """From now on these values have these fields."""
        self._known[tuple(sorted(values.items()))] = fields

    def hang(self) -> None:
        """From now on calls do not come back until `go_on`, at most 30 s."""
        self._going_on.clear()

    def go_on(self) -> None:
        """Lets hung calls come back, and later ones through."""
        self._going_on.set()

    def fetch(self, wanted: Sequence[Mapping[str, Any]], _seconds: float) -> list[lookup_values.Answer]:
        """See serving.features.source.Source.fetch."""
        self.asked += [dict(values) for values in wanted]
        self._going_on.wait(_HANG_SECONDS_MAX)
        if self.failing:
            raise ConnectionRefusedError("told to fail")
        return [lookup_values.Answer(self._known.get(tuple(sorted(values.items())))) for values in wanted]

    def close(self) -> None:
        """See serving.features.source.Source.close."""
