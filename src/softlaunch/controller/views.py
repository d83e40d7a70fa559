"""Views: what people and programs are shown of the ledger, as plain JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.controller import loop as loops
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import fleet, store


def status(loop: loops.ControlLoop) -> dict[str, Any]:
    """
    Every service in every environment, its replicas and the rollout that runs, if any.

    Shape: {"environments": {NAME: {"port": int}}, "services": [{service, environment, stable, previous, url,
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
    measured = dict(record.measured)
    report = measured.pop("report", None)
    live = loop.analyses.get(record.id)
    if live is not None:
        measured = {key: value for key, value in live.measured().items() if key != "report"}
        report = live.report_document()
    return {
        "id": record.id,
        "service": record.service,
        "environment": record.environment,
        "candidate": record.candidate.value,
        "stable": record.stable.value if record.stable else None,
        "ref": record.ref,
        "commit": record.commit,
        "requested_by": record.requested_by,
        "phase": state.phase.value,
        "outcome": state.phase.value if machine.is_final(state) else None,
        "step": state.step,
        "steps_percent": [weight / 100 for weight in state.plan.weights],
        "candidate_percent": phases.desired(state).candidate_weight / 100,
        "entered_at": state.entered_at,
        "watch_seconds": state.plan.watch_seconds,
        "step_attempts_min": state.plan.step_attempts_min,
        "paused": state.paused,
        "hold": {"kind": state.hold.kind.value, "reason": state.hold.reason} if state.hold else None,
        "reason": state.reason,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "measured": measured,
        "evidence": report,
    }


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
