"""Virtual time: a clock that moves only when told, so that a day passes in a microsecond."""

from __future__ import annotations

import threading

from softlaunch import errors

EPOCH = 1_700_000_000.0
"""Where virtual time begins (14 November 2023): far from zero, so that a mistaken zero shows."""


class ManualClock:
    """A ports.clock.Clock in virtual time. Sleeping moves it at once; it never goes back."""

    def __init__(self, now: float = EPOCH) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Moves time forward by `seconds`, >= 0."""
        if seconds < 0:
            raise errors.InvariantError(f"A clock does not go back: advance({seconds}).")
        with self._lock:
            self._now += seconds
