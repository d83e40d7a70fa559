"""The gateway: believes a routing snapshot and writes one line per attempt."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from softlaunch.core import attempts
from softlaunch.core.rollout import traffic


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogCursor:
    """Where reading of the attempt log stopped: which file (inode) and the byte after the last whole line taken."""

    file_id: int = 0
    offset: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogBatch:
    attempts: tuple[attempts.Attempt, ...]
    cursor: LogCursor
    gap: str | None = None
    """What was lost and why, when lines are known to be missing; the rollout holds."""


class Gateway(Protocol):
    def ensure_running(self) -> bool:
        """
        Starts the gateway again if it has died; True when it had.

        Raises:
            UnavailableError: it could not be started.
        """
        ...

    def apply(self, snapshot: traffic.RoutingSnapshot) -> None:
        """
        Makes the snapshot what the gateway believes; the same one again changes nothing.

        Raises:
            UnavailableError: it could not be written, or the gateway refused it; the one before stays in force.
        """
        ...

    def read_attempts(self, cursor: LogCursor, *, line_count_max: int = 20_000) -> LogBatch:
        """Attempts logged after `cursor`, in the order they ended. Reading does not remove anything."""
        ...

    def release_log(self, cursor: LogCursor) -> None:
        """Everything before `cursor` is safely stored elsewhere: the gateway may delete it (rotation, disk budget)."""
        ...

    def ejected(self) -> frozenset[str]:
        """
        Sockets of replicas the gateway itself currently refuses to use (the fuse).

        Raises:
            UnavailableError: the gateway does not answer.
        """
        ...
