"""Replays in processes of their own, beside the control plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from softlaunch.core import release


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One replay of what was recorded up to now."""

    service: str
    environment: str
    candidate: release.Digest
    since_seconds: float
    rate: float


class Replays(Protocol):
    def start(self, job: Job) -> None:
        """
        Starts the replay; returns at once. There is one at a time.

        Raises:
            UnavailableError: no process can be started.
        """
        ...

    def result(self) -> Mapping[str, Any] | None:
        """
        What `softlaunch replay --json` printed, once, when the replay started last has ended; None before.

        One that ended without a word gives {"error", "code"}, as one that was refused does.
        """
        ...

    def close(self) -> None:
        """Ends a replay that runs, its candidate's processes too."""
        ...
