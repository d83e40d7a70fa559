"""
Names of Envoy clusters, written by the configuration and read back from the attempt log.

A cluster's name says what it is for and which releases it holds: `flight-delay/production/stable/0123456789ab`. A
switch therefore never changes a cluster that requests in flight still use: it adds new ones, and old ones go later.
What belongs to a rollout also carries its salt: a release tried again does not meet the blown fuse of the last time.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re

from softlaunch import errors
from softlaunch.core.rollout import traffic

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Role(enum.StrEnum):
    STABLE = "stable"
    CANDIDATE = "candidate"
    COMPOSITE = "composite"
    """[candidate, stable, stable]: attempt 1 on the candidate, later ones on stable."""
    GUARDED_COMPOSITE = "guarded-composite"
    """The same, then the fallbacks; only prediction paths go there."""
    GUARDED_STABLE = "guarded-stable"
    """[stable, stable, stable], then the fallbacks."""
    FALLBACK = "fallback"
    SHADOW = "shadow"
    """The candidate once more, for copies: what they do to its connections must not touch users."""


COMPOSITES = frozenset({Role.COMPOSITE, Role.GUARDED_COMPOSITE})
"""Where the candidate's share goes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterName:
    service: str
    environment: str
    role: Role
    releases: str
    """Digest.short of the release; for a rollout's clusters followed by stable's, the salt, the fallbacks."""

    def __str__(self) -> str:
        return f"{self.service}/{self.environment}/{self.role}/{self.releases}"


def parse(text: str) -> ClusterName | None:
    """The name taken apart; None when it is not one of ours."""
    parts = text.split("/")
    if len(parts) != 4 or parts[2] not in {role.value for role in Role}:
        return None
    return ClusterName(service=parts[0], environment=parts[1], role=Role(parts[2]), releases=parts[3])


def stable(route: traffic.RouteSpec) -> str:
    return _name(route, Role.STABLE, route.stable.release.short)


def candidate(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> str:
    return _name(route, Role.CANDIDATE, f"{arm.release.short}-{salt(route)}")


def composite(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> str:
    return _name(route, Role.COMPOSITE, f"{arm.release.short}-{route.stable.release.short}-{salt(route)}")


def guarded_stable(route: traffic.RouteSpec) -> str:
    return _name(route, Role.GUARDED_STABLE, f"{route.stable.release.short}-{_fallbacks(route)}")


def guarded_composite(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> str:
    releases = f"{arm.release.short}-{route.stable.release.short}-{salt(route)}-{_fallbacks(route)}"
    return _name(route, Role.GUARDED_COMPOSITE, releases)


def fallback(route: traffic.RouteSpec, arm: traffic.FallbackArm) -> str:
    return _name(route, Role.FALLBACK, f"{arm.kind}-{_digest(arm.kind, *arm.addresses)}")


def shadow(route: traffic.RouteSpec, arm: traffic.ArmRoute) -> str:
    return _name(route, Role.SHADOW, f"{arm.release.short}-{salt(route)}")


def segment(text: str) -> str:
    """
    The text itself, once it is known to be safe in a file name, a path prefix, a host name and a cluster name.

    Raises:
        InvariantError: it is not; the parser of softlaunch.yaml lets only such names through.
    """
    if not _SEGMENT.fullmatch(text):
        raise errors.InvariantError(f"The gateway cannot use the name {text!r}: letters, digits, '-' and '_' only.")
    return text


def salt(route: traffic.RouteSpec) -> str:
    """Sixteen hex digits that differ per service, environment and rollout, safe inside a regex substitution."""
    text = f"{route.service}/{route.environment}/{route.salt}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fallbacks(route: traffic.RouteSpec) -> str:
    return _digest(*(fallback(route, arm) for arm in route.fallbacks))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]


def _name(route: traffic.RouteSpec, role: Role, releases: str) -> str:
    service, environment = segment(route.service), segment(route.environment)
    return str(ClusterName(service=service, environment=environment, role=role, releases=releases))
