"""
What the gateway shall believe: a snapshot of every route, made from saved state alone.

Applying the same snapshot twice changes nothing, so the reconciler re-applies it after every restart.
"""

from __future__ import annotations

import dataclasses

from softlaunch.core import release, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """One model server process."""

    release: release.Digest
    number: int
    socket: str
    """
    Path of its Unix socket; the file name starts with Digest.short, so a log line names the release. Of a release that
    is attached, not run: `tcp://HOST:PORT` or `tls://HOST:PORT`.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmRoute:
    release: release.Digest
    replicas: tuple[Replica, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortRoute:
    """Requests of a cohort, routed by shares of their own; the first cohort that matches takes a request."""

    cohort: spec.CohortSpec
    weight: int
    """The candidate's share of this cohort, in 1/10000; the rest is its control."""
    epoch: int
    """Logged with the attempts of this cohort: they are compared with one another only."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShadowRoute:
    """A copy of some prediction requests goes to the candidate; its answers are thrown away by the gateway."""

    candidate: ArmRoute
    weight: int
    """In 1/10000 of prediction requests."""
    epoch: int
    """Logged with the attempts of requests that were copied."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FallbackArm:
    """Asked when every arm failed; its answers are marked `x-softlaunch-fallback: KIND`."""

    kind: spec.FallbackKind
    addresses: tuple[str, ...]
    """Sockets, or tcp:// and tls:// addresses, as of a Replica."""


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
    cohorts: tuple[CohortRoute, ...] = ()
    shadow: ShadowRoute | None = None
    fallbacks: tuple[FallbackArm, ...] = ()
    predict_paths: tuple[str, ...] = ()
    """Besides those of `standard_paths`: exact paths, or with a final * any rest."""
    standard_paths: bool = True
    """/predict and the Open Inference Protocol's may be repeated: what answers is a model."""
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
