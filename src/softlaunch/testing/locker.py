"""Locks kept up to date in memory; see ports.locker.Locker."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from softlaunch import errors
from softlaunch.ports import locker


class MemoryLocker:
    """
    See ports.locker.Locker.

    Args:
        look: What a look at a branch comes to; it may raise.
    """

    def __init__(self, look: Callable[[str], locker.Updated]) -> None:
        self._look = look
        self._closed = False
        self.looks: list[str] = []
        """Branches that were looked at, in order."""

    def update(self, checkout: pathlib.Path, branch: str) -> locker.Updated:
        """See ports.locker.Locker.update."""
        if self._closed:
            raise errors.UnavailableError(
                "softlaunch is going down.", remedy="It is tried again.", code=errors.Code.GIT_FAILED
            )
        assert checkout.is_dir()
        self.looks.append(branch)
        return self._look(branch)

    def close(self) -> None:
        """See ports.locker.Locker.close."""
        self._closed = True
