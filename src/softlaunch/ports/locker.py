"""Keeping softlaunch.lock of a branch up to date, beside the control plane."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updated:
    """What one look came to."""

    commit: str
    """What was pushed; empty: nothing was."""
    text: str
    """One sentence for people."""


class Locker(Protocol):
    """May be used by several threads."""

    def update(self, checkout: pathlib.Path, branch: str) -> Updated:
        """
        Looks at everything the branch's lock pins, and pushes one commit when something has moved; takes its time.

        What a commit of the branch took back is not written again.

        Args:
            checkout: The service's folder in a clone whose remote is the followed one.
            branch: Of that remote.

        Raises:
            ConfigError: the branch, its softlaunch.yaml or its lock are not usable.
            ConflictError: others moved the branch all the time.
            UnavailableError: something cannot be fetched or pushed, it took too long, or `close` ended it.
        """
        ...

    def close(self) -> None:
        """Ends what runs; nothing half-done stays behind."""
        ...
