"""
The desired world: which replicas shall run and what the gateway shall believe.

Pure functions of saved state and of what was observed; the reconciler applies their result again and again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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
        )
        for number in range(environment.replica_count)
    ]


def replicas(
    lives: Sequence[store.LiveRecord], rollouts: Mapping[tuple[str, str], store.RolloutRecord]
) -> dict[str, fleet.ReplicaSpec]:
    """Every replica that shall run, by name."""
    wanted: dict[str, fleet.ReplicaSpec] = {}
    for live in lives:
        rollout = rollouts.get((live.service, live.environment))
        arms: list[tuple[release.Digest, spec.EnvironmentSpec]] = []
        if rollout is None:
            if live.stable is not None:
                arms.append((live.stable, live.spec))
        else:
            desire = phases.desired(rollout.state)
            if desire.candidate_runs:
                arms.append((rollout.candidate, rollout.spec))
            if desire.old_stable_runs and rollout.stable is not None:
                arms.append((rollout.stable, live.spec))
        for digest, environment in arms:
            wanted.update({found.name: found for found in arm_specs(live, digest, environment)})
    return wanted


def share(live: store.LiveRecord, rollout: store.RolloutRecord | None) -> tuple[release.Digest | None, int]:
    """(stable arm, candidate weight): what an epoch of the routing stands for."""
    if rollout is None:
        return live.stable, 0
    desire = phases.desired(rollout.state)
    return (rollout.candidate if desire.candidate_is_stable else rollout.stable), desire.candidate_weight


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
        tunings: By rollout id; only of rollouts whose candidate has a share.
        listeners: Port by environment.
    """
    routes = []
    for live in lives:
        rollout = rollouts.get((live.service, live.environment))
        stable_digest, weight = share(live, rollout)
        stable = _arm(live, stable_digest, statuses)
        if stable is None:
            continue
        environment = live.spec if rollout is None else rollout.spec
        candidate = _arm(live, rollout.candidate, statuses) if rollout is not None and weight else None
        tuning = tunings.get(rollout.id) if rollout is not None else None
        routes.append(
            traffic.RouteSpec(
                service=live.service,
                environment=live.environment,
                epoch=live.epoch,
                stable=stable,
                candidate=candidate,
                candidate_weight=weight if candidate is not None else 0,
                salt=rollout.salt if rollout is not None else "",
                key_header=environment.strategy.key_header,
                fallback_body=environment.fallback_body,
                try_timeout_seconds=tuning.try_timeout_seconds if tuning else TRY_TIMEOUT_SECONDS_DEFAULT,
                request_timeout_seconds=environment.request_timeout_seconds,
                fuse_failures=tuning.fuse_failures if tuning else traffic.RouteSpec.fuse_failures,
            )
        )
    return traffic.RoutingSnapshot(
        listeners=tuple(traffic.Listener(environment=name, port=port) for name, port in sorted(listeners.items())),
        routes=tuple(routes),
    )


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
        if route.candidate_weight <= known.candidate_weight:
            routes[route.service, route.environment] = route
    return dataclasses.replace(applied, routes=tuple(routes.values()))


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
