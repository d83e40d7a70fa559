"""Views: what people and programs are shown of the ledger, as plain JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.controller import loop as loops
from softlaunch.core import spec
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import fleet, store


def status(loop: loops.ControlLoop) -> dict[str, Any]:
    """
    Every service in every environment, its replicas and the rollout that runs, if any.

    Shape: {"environments": {NAME: {"port": int}}, "services": [{service, environment, stable, previous (digests),
    stable_arm, previous_arm (as replicas are named), url, fallback_answers (since this control plane began),
    replicas: [...], rollout: {...} | None}]}.
    """
    with loop.lock:
        book = loop.ledger
        services = []
        for place, live in sorted(book.lives.items()):
            record = book.rollouts.get(place)
            alone = sum(1 for _, environment in book.lives if environment == live.environment) == 1
            port = book.listeners.get(live.environment)
            services.append(
                {
                    "service": live.service,
                    "environment": live.environment,
                    "stable": live.stable.value if live.stable else None,
                    "previous": live.previous.value if live.previous else None,
                    "stable_arm": live.stable.short if live.stable else None,
                    "previous_arm": live.previous.short if live.previous else None,
                    "fallback_answers": loop.fallbacks.counts.get(place, 0),
                    "url": f"http://127.0.0.1:{port}/" + ("" if alone else f"{live.service}/"),
                    "replicas": _replicas(live, loop.statuses),
                    "rollout": rollout(loop, record) if record is not None else None,
                }
            )
        return {
            "environments": {name: {"port": port} for name, port in sorted(book.listeners.items())},
            "services": services,
        }


def rollout(loop: loops.ControlLoop, record: store.RolloutRecord) -> dict[str, Any]:
    """
    One rollout, running or finished.

    `outcome` is promoted, rolled_back, aborted, or null while it runs. Times are Unix seconds.
    """
    state = record.state
    routed = phases.desired(state)
    measured = dict(record.measured)
    report = measured.pop("report", None)
    measured.pop("curve", None)  # too long for a view that is asked four times a second: see `curve`
    live = loop.analyses.get(record.id)
    if live is not None:
        measured = live.measured()
        report = live.report_document()
    return {
        "id": record.id,
        "service": record.service,
        "environment": record.environment,
        "candidate": record.candidate.value,
        "stable": record.stable.value if record.stable else None,
        "candidate_arm": record.candidate.short,
        "stable_arm": record.stable.short if record.stable else None,
        "settings_changed": {how: list(names) for how, names in record.settings_changed.items()},
        "ref": record.ref,
        "commit": record.commit,
        "requested_by": record.requested_by,
        "phase": state.phase.value,
        "outcome": state.phase.value if machine.is_final(state) else None,
        "step": state.step,
        "steps": [_step(step) for step in state.plan.steps],
        "steps_percent": _shares(state.plan),
        "candidate_percent": routed.candidate_weight / 100,
        "cohorts_percent": {name: weight / 100 for name, weight in routed.cohort_weights},
        "shadow_percent": routed.shadow_weight / 100,
        "entered_at": state.entered_at,
        "watch_seconds": state.plan.watch_seconds,
        "step_attempts_min": state.plan.step_attempts_min,
        "paused": state.paused,
        "hold": {"kind": state.hold.kind.value, "reason": state.hold.reason} if state.hold else None,
        "reason": state.reason,
        "progress": loop.verifying(record),
        "drill": state.plan.drill,
        "successor": _successor(record.successor),
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "measured": measured,
        "evidence": report,
    }


def _step(step: spec.StepSpec) -> dict[str, Any]:
    return {
        "kind": step.kind.value,
        "percent": step.weight / 100,
        "cohort": step.cohort,
        "seconds": step.duration_seconds,
        "approvers": list(step.approvers),
    }


def _shares(plan: phases.LaunchPlan) -> list[float]:
    """The candidate's share of all users in each step, whatever its kind."""
    shares, share = [], 0.0
    for step in plan.steps:
        share = step.weight / 100 if step.kind is spec.StepKind.SHARE else share
        shares.append(share)
    return shares


def _successor(successor: store.Successor | None) -> dict[str, Any] | None:
    if successor is None:
        return None
    return {
        "id": successor.id,
        "release": successor.release.value,
        "arm": successor.release.short,
        "ref": successor.ref,
        "requested_by": successor.requested_by,
    }


def curve(loop: loops.ControlLoop, record: store.RolloutRecord) -> dict[str, Any] | None:
    """The evidence of a rollout over time (controller.curves); None where none was kept."""
    live = loop.analyses.get(record.id)
    return live.curve() if live is not None else record.measured.get("curve")


def events(found: list[store.HistoryEvent]) -> list[dict[str, Any]]:
    """History records, oldest first."""
    return [
        {
            "id": event.id,
            "at": event.at,
            "service": event.service,
            "environment": event.environment,
            "rollout_id": event.rollout_id,
            "kind": event.kind,
            "text": event.text,
            "facts": dict(event.facts),
            "hash": event.hash,
        }
        for event in found
    ]


def _replicas(live: store.LiveRecord, statuses: Mapping[str, fleet.ReplicaStatus]) -> list[dict[str, Any]]:
    prefix = f"{live.service}/{live.environment}/"
    return [
        {
            "name": name,
            "release": name.split("/")[2],
            "phase": status.phase.value,
            "pid": status.pid,
            "socket": status.socket,
            "detail": status.detail,
        }
        for name, status in sorted(statuses.items())
        if name.startswith(prefix)
    ]
