"""
Logs that cannot be written now: when to try again, and what to tell meanwhile.

Each service has its own: the disk of one may be full, the folder of another somebody else's. Nothing is lost by
waiting: records stay in the spool, within its budget. To try without a pause would read a batch and make its columns
four times a second, for nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import structlog

from softlaunch import errors

LOG = structlog.get_logger()

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 1.0, 30.0
"""Between two tries; it doubles. A guess: once it can be written again, the log is behind by a batch more at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outage:
    since: float
    """Unix seconds of the first try that failed."""
    try_count: int
    again_at: float
    detail: str
    remedy: str


Tell = Callable[[Mapping[str, Outage]], None]


class Outages:
    """
    By service; not for several threads.

    Args:
        tell: Called with all of them whenever one changes.
    """

    def __init__(self, tell: Tell = lambda _: None) -> None:
        self._tell = tell
        self._found: dict[str, Outage] = {}

    @property
    def found(self) -> Mapping[str, Outage]:
        return self._found

    def is_out(self, service: str, now: float) -> bool:
        """It failed, and is not to be tried again yet."""
        found = self._found.get(service)
        return found is not None and now < found.again_at

    def failed(self, service: str, error: errors.SoftlaunchError, now: float) -> None:
        before = self._found.get(service)
        try_count = 1 if before is None else before.try_count + 1
        pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2 ** min(try_count - 1, 10))
        self._found[service] = Outage(
            since=now if before is None else before.since,
            try_count=try_count,
            again_at=now + pause,
            detail=error.message,
            remedy=error.remedy,
        )
        LOG.warning("log_not_shipped", service=service, detail=str(error), again_in_seconds=pause)
        self._tell(self._found)

    def passed(self, service: str, now: float) -> None:
        """It was written."""
        before = self._found.pop(service, None)
        if before is not None:
            LOG.info("log_shipped_again", service=service, seconds=round(now - before.since, 1))
            self._tell(self._found)
