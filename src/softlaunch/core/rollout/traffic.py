"""
What the gateway shall believe: a snapshot of every route, made from saved state alone.

Applying the same snapshot twice changes nothing, so the reconciler re-applies it after every restart.
"""

from __future__ import annotations

import dataclasses

from softlaunch.core import release


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """One model server process."""

    release: release.Digest
    number: int
    socket: str
    """Path of its Unix socket; the file name starts with Digest.short, so a log line names the release."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmRoute:
    release: release.Digest
    replicas: tuple[Replica, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RouteSpec:
    """One service in one environment."""

    service: str
    environment: str
    epoch: int
    """Changes whenever a weight or an arm changes; logged with every attempt (route metadata)."""
    stable: ArmRoute
    candidate: ArmRoute | None = None
    candidate_weight: int = 0
    """In 1/10000 of users. Those go to composite [candidate, stable]."""
    salt: str = ""
    """Mixed into the sticky hash, per rollout, so that not the same users meet every new release."""
    key_header: str | None = None
    fallback_body: bytes | None = None
    try_timeout_seconds: float = 1.0
    """A try slower than this is hedged on stable."""
    request_timeout_seconds: float = 5.0
    fuse_failures: int = 5
    """Consecutive failed attempts on one candidate replica before Envoy itself stops sending there."""
    fuse_enabled: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listener:
    environment: str
    port: int
    host: str = "127.0.0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoutingSnapshot:
    listeners: tuple[Listener, ...]
    routes: tuple[RouteSpec, ...]
