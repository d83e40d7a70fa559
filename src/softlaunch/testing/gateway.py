"""A gateway without Envoy: believes any snapshot, hands out the attempts a test logged."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NamedTuple

from softlaunch import errors
from softlaunch.core import attempts
from softlaunch.core.rollout import traffic
from softlaunch.ports import gateway


class _Copy(NamedTuple):
    attempt: attempts.Attempt


class _Fallback(NamedTuple):
    service: str
    environment: str


class InMemoryGateway:
    """Implements ports.gateway.Gateway; everything else here is for the test that plays Envoy and its traffic."""

    def __init__(self) -> None:
        self.snapshots: list[traffic.RoutingSnapshot] = []
        """What was believed, oldest first; applying the same snapshot again adds nothing."""
        self.released = gateway.LogCursor()
        self._log: list[attempts.Attempt | _Copy | _Fallback | str] = []
        self._ejected: frozenset[str] = frozenset()
        self._refusal: str | None = None
        self._dead = False

    @property
    def believed(self) -> traffic.RoutingSnapshot | None:
        """The snapshot in force; None before the first."""
        return self.snapshots[-1] if self.snapshots else None

    def log(self, lines: Iterable[attempts.Attempt]) -> None:
        """Attempts that have ended, in that order."""
        self._log.extend(lines)

    def log_copies(self, lines: Iterable[attempts.Attempt]) -> None:
        """Attempts of mirrored requests on the shadow."""
        self._log.extend(_Copy(attempt=line) for line in lines)

    def log_fallback(self, service: str, environment: str) -> None:
        """A fallback answered a request of the service."""
        self._log.append(_Fallback(service=service, environment=environment))

    def lose(self, reason: str) -> None:
        """Lines were lost here."""
        self._log.append(reason)

    def refuse_next(self, reason: str) -> None:
        """The next snapshot that would change something is refused."""
        self._refusal = reason

    def die(self) -> None:
        """The gateway's process is gone, until somebody ensures that it runs."""
        self._dead = True

    def eject(self, sockets: Iterable[str]) -> None:
        """The fuse of exactly these replicas has blown."""
        self._ejected = frozenset(sockets)

    def ensure_running(self) -> bool:
        dead, self._dead = self._dead, False
        return dead

    def apply(self, snapshot: traffic.RoutingSnapshot) -> None:
        gateway.require_own_addresses(snapshot)
        if snapshot == self.believed:
            return
        if self._refusal is not None:
            reason, self._refusal = self._refusal, None
            raise errors.UnavailableError(
                f"The gateway refused the routes: {reason}.",
                remedy="The routes before this change stay in force.",
                code=errors.Code.GATEWAY_REFUSED,
            )
        self.snapshots.append(snapshot)

    def read_attempts(self, cursor: gateway.LogCursor, *, line_count_max: int = 20_000) -> gateway.LogBatch:
        found: list[attempts.Attempt] = []
        copies: list[attempts.Attempt] = []
        fallbacks: collections.Counter[tuple[str, str]] = collections.Counter()
        gaps: list[str] = []
        offset = cursor.offset
        while offset < len(self._log) and len(found) < line_count_max:
            line = self._log[offset]
            if isinstance(line, str):
                gaps.append(line)
            elif isinstance(line, _Copy):
                copies.append(line.attempt)
            elif isinstance(line, _Fallback):
                fallbacks[line.service, line.environment] += 1
            else:
                found.append(line)
            offset += 1
        after = gateway.LogCursor(file_id=1, offset=offset) if offset else cursor
        return gateway.LogBatch(
            attempts=tuple(found),
            cursor=after,
            gap="; ".join(gaps) or None,
            fallbacks=dict(fallbacks),
            copies=tuple(copies),
        )

    def release_log(self, cursor: gateway.LogCursor) -> None:
        self.released = cursor

    def ejected(self) -> frozenset[str]:
        return self._ejected
