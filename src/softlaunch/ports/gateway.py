"""The gateway: believes a routing snapshot and writes one line per attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from softlaunch import errors
from softlaunch.core import attempts
from softlaunch.core.rollout import traffic


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class LogCursor:
    """
    Where reading of the attempt log stopped: which file, and the byte after the last whole line taken.

    A later file has a greater id: cursors of one log are in its order.
    """

    file_id: int = 0
    offset: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogBatch:
    copies: tuple[attempts.Attempt, ...] = ()
    """
    Attempts of mirrored requests on the shadow, as the gateway saw them: also of one that never answered. No user
    waited for them, so they are not among `attempts`.
    """
    attempts: tuple[attempts.Attempt, ...]
    cursor: LogCursor
    gap: str | None = None
    """What was lost and why, when lines are known to be missing; the rollout holds."""
    fallbacks: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    """By service and environment: answers since the cursor that a fallback gave, each counted once."""
    fallback_ids: tuple[str, ...] = ()
    """Requests that got one of them."""


def arms(route: traffic.RouteSpec) -> list[traffic.ArmRoute]:
    """Everybody who may answer or see the service's requests, fallbacks aside."""
    shadow = route.shadow.candidate if route.shadow is not None else None
    return [arm for arm in (route.stable, route.candidate, shadow) if arm is not None]


def require_own_addresses(snapshot: traffic.RoutingSnapshot) -> None:
    """
    Every gateway's rule: two attached releases of one service are not behind the same address.

    Nobody could tell which of them answered. Two services may share a server: they are never compared.

    Raises:
        ConfigError: they are.
    """
    for route in snapshot.routes:
        owners: dict[str, str] = {}
        for arm in arms(route):
            for replica in arm.replicas:
                _, separator, place = replica.socket.partition("://")
                owner = owners.setdefault(place, arm.release.short) if separator else arm.release.short
                if owner != arm.release.short:
                    raise errors.ConfigError(
                        f"Releases {owner} and {arm.release.short} of {route.service} in {route.environment} are both "
                        f"behind {replica.socket}: nobody could tell which of them answered.",
                        remedy="Give each release an address of its own.",
                        code=errors.Code.GATEWAY_ADDRESS,
                    )


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
            ConfigError: an address is none, or two releases of a service have the same.
            UnavailableError: it could not be written, the gateway refused it, or the name of an attached server does
                not resolve; the one before stays in force.
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


class AttemptTail(Protocol):
    """The attempt log for a second reader, in a process of its own."""

    def read(self, cursor: LogCursor, *, line_count_max: int, until: LogCursor | None = None) -> LogBatch:
        """Attempts after the cursor, and none after `until`, where reading has stopped before."""
        ...

    def hold(self, cursor: LogCursor) -> None:
        """Reading will begin there after a restart: what follows is kept, as far as the log's budget allows."""
        ...

    def held(self) -> LogCursor | None:
        """What `hold` was told last."""
        ...
