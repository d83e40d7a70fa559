"""The sender: gives recorded requests to a candidate once more."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Protocol

from softlaunch.core import spool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one request."""

    request_id: str
    answer: spool.Record | None
    """As the candidate would have recorded it (arm SHADOW); None: no answer came in time."""


class Sender(Protocol):
    def send(self, record: spool.Record) -> None:
        """Sends the recorded request now, without waiting for this or any earlier answer."""
        ...

    def collect(self) -> Sequence[Sent]:
        """What has become of requests since the last call; every request is told of once, after its timeout at last."""
        ...


class Senders(Protocol):
    def __call__(
        self, sockets: Sequence[str], *, release: str, timeout_seconds: float
    ) -> contextlib.AbstractContextManager[Sender]:
        """A sender to the replicas behind these sockets, of the release with these first twelve hex digits."""
        ...
