"""The machine's clock, asked in one place only."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, or at once in virtual time after moving it."""
        ...
