"""
The desired world: which replicas shall run and what the gateway shall believe.

Pure functions of saved state and of what was observed; the reconciler applies their result again and again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence

from softlaunch.controller import arms
from softlaunch.core import release, spec
from softlaunch.core.rollout import phases, traffic
from softlaunch.ports import fleet, store

TRY_TIMEOUT_SECONDS_DEFAULT = 1.0
"""Of a service whose latency is not known yet; a guess that is long for a model and short for a person."""
TRY_TIMEOUT_SECONDS_MIN = 0.25
"""A process of a busy machine stands still for 50 to 200 ms now and then; a try given up for that counts as failed, and
with 50 ms two of some ninety launches of equal releases on an overloaded machine were taken back for it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """What the analysis knows about a rollout that routes depend on."""

    try_timeout_seconds: float
    fuse_failures: int


def replica_name(live: store.LiveRecord, digest: release.Digest, number: int) -> str:
    return f"{live.service}/{live.environment}/{digest.short}/{number}"


def arm_specs(
    live: store.LiveRecord, digest: release.Digest, environment: spec.EnvironmentSpec
) -> list[fleet.ReplicaSpec]:
    """The replicas of one release, as the environment it was launched into asks for them."""
    return [
        fleet.ReplicaSpec(
            name=replica_name(live, digest, number),
            service=live.service,
            environment=live.environment,
            release=digest,
            number=number,
            env=environment.env,
            secrets=environment.secrets,
            keys=() if environment.capture is None else environment.capture.keys,
            capture=environment.capture,
            predict_paths=environment.predict_paths,
            evidence=environment.evidence,
        )
        for number in range(environment.replica_count)
    ]


def fallback_specs(live: store.LiveRecord) -> list[fleet.ReplicaSpec]:
    """The fallback servers of a service, whose identity is the digest of what they answer from."""
    return [
        fleet.ReplicaSpec(
            name=replica_name(live, fallback_identity(found), 0),
            service=live.service,
            environment=live.environment,
            release=fallback_identity(found),
            number=0,
            env=live.spec.env,
            secrets=live.spec.secrets,
            fallback=found,
        )
        for found in live.spec.fallbacks
        if found.kind in (spec.FallbackKind.TABLE, spec.FallbackKind.PYTHON)
    ]


def fallback_identity(found: spec.FallbackSpec) -> release.Digest:
    document = json.dumps(dataclasses.asdict(found), sort_keys=True)
    return release.Digest("sha256:" + hashlib.sha256(document.encode()).hexdigest())


def replicas(
    lives: Sequence[store.LiveRecord], rollouts: Mapping[tuple[str, str], store.RolloutRecord], *, now: float
) -> dict[str, fleet.ReplicaSpec]:
    """Every replica that shall run, by name."""
    wanted: dict[str, fleet.ReplicaSpec] = {}
    for live in lives:
        rollout = rollouts.get((live.service, live.environment))
        found: list[tuple[release.Digest, spec.EnvironmentSpec]] = []
        if rollout is None:
            if live.stable is not None:
                found.append((live.stable, live.spec))
        else:
            desire = phases.desired(rollout.state)
            if desire.candidate_runs:
                found.append((rollout.candidate, rollout.spec))
            if desire.old_stable_runs and rollout.stable is not None:
                found.append((rollout.stable, live.spec if rollout.stable == live.stable else arms.previous_spec(live)))
        if live.previous is not None and (now < live.warm_until or _falls_back_to_previous(live)):
            found.append((live.previous, arms.previous_spec(live)))
        for digest, environment in reversed(found):  # whose replicas have the same names: the first arm's spec holds
            wanted.update({each.name: each for each in arm_specs(live, digest, environment)})
        if live.stable is not None:
            wanted.update({each.name: each for each in fallback_specs(live)})
    return wanted


def _falls_back_to_previous(live: store.LiveRecord) -> bool:
    return any(found.kind is spec.FallbackKind.PREVIOUS for found in live.spec.fallbacks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routing:
    """What a base epoch of a place stands for."""

    stable: release.Digest | None
    candidate_weight: int = 0
    cohort_weights: tuple[tuple[str, int], ...] = ()
    shadow_weight: int = 0
    alone: bool = False
    """The candidate has stable's place, and is judged by what it did alone."""

    def shares(self, epoch: int, environment: spec.EnvironmentSpec) -> dict[int, float]:
        """The candidate's share of first attempts by epoch: of everybody, of each routed cohort, of pairs."""
        found = {epoch: 1.0 if self.alone else self._share(self.candidate_weight)}
        for name, weight in self.cohort_weights:
            found[cohort_epoch(epoch, environment, name)] = self._share(weight)
        if self.shadow_weight:
            found[shadow_epoch(epoch, environment)] = SHADOW_SHARE
        return found

    def _share(self, weight: int) -> float:
        """Of what is logged under the population's epoch: stable's copied requests are logged under the shadow's."""
        candidate = weight / spec.WEIGHT_FULL
        stable = (1.0 - candidate) * (1.0 - self.shadow_weight / spec.WEIGHT_FULL)
        return candidate / (candidate + stable) if candidate else 0.0


SHADOW_SHARE = 0.5
"""Every copied request is one attempt of each arm."""


def cohort_epoch(epoch: int, environment: spec.EnvironmentSpec, name: str) -> int:
    return epoch + 1 + next(index for index, found in enumerate(environment.cohorts) if found.name == name)


def shadow_epoch(epoch: int, environment: spec.EnvironmentSpec) -> int:
    return epoch + 1 + len(environment.cohorts)


def epoch_after(epoch: int, environment: spec.EnvironmentSpec) -> int:
    """The next base epoch, beyond every population's of this one."""
    return epoch + 2 + len(environment.cohorts)


def routing(live: store.LiveRecord, rollout: store.RolloutRecord | None) -> Routing:
    if rollout is None:
        return Routing(stable=live.stable)
    desire = phases.desired(rollout.state)
    return Routing(
        stable=rollout.candidate if desire.candidate_is_stable else rollout.stable,
        candidate_weight=desire.candidate_weight,
        cohort_weights=desire.cohort_weights,
        shadow_weight=desire.shadow_weight,
        alone=desire.candidate_is_stable and rollout.state.plan.recreate,
    )


def snapshot(
    lives: Sequence[store.LiveRecord],
    rollouts: Mapping[tuple[str, str], store.RolloutRecord],
    statuses: Mapping[str, fleet.ReplicaStatus],
    tunings: Mapping[int, Tuning],
    listeners: Mapping[str, int],
) -> traffic.RoutingSnapshot:
    """
    What the gateway shall believe.

    Args:
        lives: Every service in every environment.
        rollouts: Unfinished ones by (service, environment).
        statuses: Observed replicas by name.
        tunings: By rollout id; only of rollouts whose candidate is reached.
        listeners: Port by environment.
    """
    routes = []
    for live in lives:
        rollout = rollouts.get((live.service, live.environment))
        tuning = tunings.get(rollout.id) if rollout is not None else None
        found = _route(live, rollout, statuses, tuning)
        if found is not None:
            routes.append(found)
    return traffic.RoutingSnapshot(
        listeners=tuple(traffic.Listener(environment=name, port=port) for name, port in sorted(listeners.items())),
        routes=tuple(routes),
    )


def _route(
    live: store.LiveRecord,
    rollout: store.RolloutRecord | None,
    statuses: Mapping[str, fleet.ReplicaStatus],
    tuning: Tuning | None,
) -> traffic.RouteSpec | None:
    routed = routing(live, rollout)
    stable = _arm(live, routed.stable, statuses)
    if stable is None and rollout is not None and rollout.state.plan.recreate and routed.stable is not None:
        stable = traffic.ArmRoute(release=routed.stable, replicas=())  # downtime: what is left is the fallback
    if stable is None:
        return None
    environment = live.spec if rollout is None else rollout.spec
    candidate = _arm(live, rollout.candidate, statuses) if rollout is not None else None
    cohorts = []
    if candidate is not None:
        cohorts = [
            traffic.CohortRoute(
                cohort=next(found for found in environment.cohorts if found.name == name),
                weight=weight,
                epoch=cohort_epoch(live.epoch, environment, name),
            )
            for name, weight in routed.cohort_weights
        ]
    shadow = None
    if candidate is not None and routed.shadow_weight:
        shadow = traffic.ShadowRoute(
            candidate=candidate, weight=routed.shadow_weight, epoch=shadow_epoch(live.epoch, environment)
        )
    reached = candidate is not None and bool(routed.candidate_weight or any(found.weight for found in cohorts))
    return traffic.RouteSpec(
        service=live.service,
        environment=live.environment,
        epoch=live.epoch,
        stable=stable,
        candidate=candidate if reached else None,
        candidate_weight=routed.candidate_weight if reached else 0,
        cohorts=tuple(cohorts),
        shadow=shadow,
        fallbacks=_fallbacks(live, environment, statuses),
        predict_paths=environment.predict_paths,
        standard_paths=environment.standard_paths,
        salt=rollout.salt if rollout is not None else "",
        key_header=environment.strategy.key_header,
        fallback_body=environment.fallback_body,
        try_timeout_seconds=tuning.try_timeout_seconds if tuning else TRY_TIMEOUT_SECONDS_DEFAULT,
        request_timeout_seconds=environment.request_timeout_seconds,
        fuse_failures=tuning.fuse_failures if tuning else traffic.RouteSpec.fuse_failures,
    )


def _fallbacks(
    live: store.LiveRecord, environment: spec.EnvironmentSpec, statuses: Mapping[str, fleet.ReplicaStatus]
) -> tuple[traffic.FallbackArm, ...]:
    """Those that can answer now, in the order the environment names them."""
    found = []
    for each in environment.fallbacks:
        addresses: tuple[str, ...] = ()
        match each.kind:
            case spec.FallbackKind.URL:
                addresses = (_address(each.target),)
            case spec.FallbackKind.PREVIOUS:
                arm = _arm(live, live.previous, statuses)
                addresses = tuple(replica.socket for replica in arm.replicas) if arm is not None else ()
            case spec.FallbackKind.TABLE | spec.FallbackKind.PYTHON:
                status = statuses.get(replica_name(live, fallback_identity(each), 0))
                addresses = (status.socket,) if status is not None and status.socket else ()
        if addresses:
            found.append(traffic.FallbackArm(kind=each.kind, addresses=addresses))
    return tuple(found)


def _address(url: str) -> str:
    """http://host:port as the gateway reads it; the parser of softlaunch.yaml lets only such URLs through."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    return f"{'tls' if tls else 'tcp'}://{parts.hostname}:{parts.port or (443 if tls else 80)}"


def only_back(snapshot: traffic.RoutingSnapshot, applied: traffic.RoutingSnapshot) -> traffic.RoutingSnapshot:
    """
    What of a snapshot may be applied although the state it follows from could not be written down.

    Routes that give a candidate no more than before; every other one, and the listeners, stay as they were applied.
    """
    routes = {(route.service, route.environment): route for route in applied.routes}
    for route in snapshot.routes:
        known = routes.get((route.service, route.environment))
        if known is None or known.stable.release != route.stable.release:
            continue
        if _reach(route) <= _reach(known):
            routes[route.service, route.environment] = route
    return dataclasses.replace(applied, routes=tuple(routes.values()))


def _reach(route: traffic.RouteSpec) -> int:
    """How much of anybody's traffic, or copies of it, the candidate gets."""
    shadow = route.shadow.weight if route.shadow is not None else 0
    return max(route.candidate_weight, shadow, *(found.weight for found in route.cohorts), 0)


def _arm(
    live: store.LiveRecord, digest: release.Digest | None, statuses: Mapping[str, fleet.ReplicaStatus]
) -> traffic.ArmRoute | None:
    """
    The replicas of a release that requests can go to.

    Those that are ready; when none is, those that were started: their failures are evidence and retries save the
    user. A release none of whose replicas was ever started has no route.
    """
    if digest is None:
        return None
    prefix = f"{live.service}/{live.environment}/{digest.short}/"
    known = sorted(
        (status for name, status in statuses.items() if name.startswith(prefix) and status.socket),
        key=lambda status: status.name,
    )
    ready = [status for status in known if status.phase is fleet.ReplicaPhase.READY]
    found = ready or known
    if not found:
        return None
    return traffic.ArmRoute(
        release=digest,
        replicas=tuple(
            traffic.Replica(release=digest, number=int(status.name.rsplit("/", 1)[1]), socket=status.socket)
            for status in found
        ),
    )
