"""The machine's clock. Nothing above the adapters asks for the time in any other way."""

from __future__ import annotations

import time


class SystemClock:
    """A ports.clock.Clock that tells the real time and really sleeps."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        # time.sleep refuses negative values; a deadline that has passed is not an error here.
        time.sleep(max(0.0, seconds))
