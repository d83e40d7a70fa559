"""What this home knows of a release, as nodes of its lineage."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softlaunch.core import lineage_graph as graphs
from softlaunch.core import release, training_record

ROLLOUTS_MAX = 1000
"""The API gives so many at once."""
_SHORT = 12
_PROMOTED = frozenset({"watching", "finishing", "promoted"})
"""Phases in which a candidate answers in the stable release's place."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file of the release."""

    path: str
    sha256: str
    """Of a link: of the text it is."""
    bytes: int
    mode: str = "file"
    """file, program or link."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Now:
    """What the control plane answers, each as its API gives it."""

    rollouts: Sequence[Mapping[str, Any]] = ()
    """Of the service."""
    approvals: Sequence[Mapping[str, Any]] = ()
    """Records of the history, of the kind `approved`."""
    services: Sequence[Mapping[str, Any]] = ()
    """Of the status."""
    pins: Sequence[Mapping[str, Any]] = ()
    """With `service` and `environment`."""
    repositories: Sequence[str] = ()
    """URLs that are followed for the service."""


def add_files(drawing: graphs.Drawing, content: release.ReleaseContent, files: Sequence[File]) -> None:
    """What the release's own digest covers: its model, its packages, its gates."""
    for each in files:
        facts = dataclasses.asdict(each)
        detail = f"sha256 {each.sha256[:_SHORT]}, {each.bytes:,} bytes"
        if each.path.startswith("model/"):
            node = graphs.Node(
                id=f"model:{each.path}",
                kind=graphs.Kind.MODEL,
                label=each.path,
                detail=detail,
                proof=graphs.Proof.CONTENT,
                facts=facts,
            )
            drawing.origin(node, "is in")
        elif each.path == content.lock_file:
            node = graphs.Node(
                id=f"requirements:{each.sha256}",
                kind=graphs.Kind.REQUIREMENTS,
                label=each.path,
                detail=detail,
                proof=graphs.Proof.CONTENT,
                facts=facts,
            )
            drawing.origin(node, "installed in")
    if content.python_target is not None:
        node = graphs.Node(
            id=f"model:{content.python_target}",
            kind=graphs.Kind.MODEL,
            label=content.python_target,
            detail="in the code",
            proof=graphs.Proof.CONTENT,
            facts={"target": content.python_target},
        )
        drawing.origin(node, "is in")
    for gate in content.gates:
        node = graphs.Node(
            id=f"gate:{gate.name}",
            kind=graphs.Kind.GATE,
            label=f"{gate.name} {gate.value:g}",
            detail=f"{'passed' if gate.passed else 'failed'}: {gate.threshold}",
            proof=graphs.Proof.CONTENT,
            facts=dataclasses.asdict(gate),
        )
        drawing.origin(node, "measured")


def add_inputs(drawing: graphs.Drawing, inputs: Iterable[tuple[str, str, str, str]], *, commit: str) -> None:
    """Data as a commit of a repository pins it: role, URI, version and sha256."""
    for role, uri, version, sha256 in inputs:
        drawing.origin(data_node(role, uri, version, sha256, source=f"commit {commit[:_SHORT]}"), "went into")


def add_training(
    drawing: graphs.Drawing, runs: Iterable[training_record.TrainingRecord], sha256: Sequence[str]
) -> None:
    """Recorded runs, with what they measured; and which of the release's files are theirs."""
    for run in runs:
        node_id = f"training:{run.run}"
        before = drawing.find(node_id)
        if before is not None and before.facts.get("sha256") != run.digest:
            before = None  # what was signed is another record than this one
        made = [file.path for file in run.files if file.sha256 in sha256]
        values = {metric.name: training_record.number(metric.last) for metric in run.metrics}
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, float))
        source = "" if run.source == "softlaunch" else f"of {run.source}"
        node = graphs.Node(
            id=node_id,
            kind=graphs.Kind.TRAINING,
            label=f"run {run.run}",
            detail=", ".join(part for part in (run.name, source, run.outcome.value, day(run.started_at), told) if part),
            proof=before.proof if before is not None else graphs.Proof.RECORD,
            signed_by=before.signed_by if before is not None else (),
            problem=before.problem if before is not None else "",
            facts={
                "run": run.run,
                "name": run.name,
                "source": run.source,
                "outcome": run.outcome.value,
                "started_at": run.started_at,
                "commit": run.code.commit,
                "parameters": dict(run.parameters),
                "metrics": values,
                "files": made,
                "sha256": run.digest,
            },
        )
        drawing.put(node)
        drawing.link(node_id, "trained", drawing.root.id)


def add_pipelines(drawing: graphs.Drawing, documents: Iterable[Mapping[str, Any]]) -> None:
    """Runs of `softlaunch ship` that shipped the release, as JSON."""
    for run in documents:
        outcome = run["outcome"].replace("_", " ") or "unfinished"
        node = graphs.Node(
            id=f"pipeline:{run['run']}",
            kind=graphs.Kind.PIPELINE,
            label=f"run {run['run']} to {run['environment']}",
            detail=f"{run['ref']} by {run['by']}, {day(run['started_at'])}: {outcome}",
            facts={name: run[name] for name in ("run", "environment", "commit", "ref", "by", "outcome", "rollouts")},
        )
        drawing.result("shipped by", node)


def add_images(drawing: graphs.Drawing, documents: Iterable[Mapping[str, Any]]) -> None:
    """Images that were built of the release, as JSON."""
    for image in documents:
        digest = image["image"].removeprefix("sha256:")
        node = graphs.Node(
            id=f"image:{image['image']}",
            kind=graphs.Kind.IMAGE,
            label=f"{digest[:_SHORT]} {image['tag']}".rstrip(),
            detail=f"on {image['base']}" if image["base"] else "",
            facts=dict(image),
        )
        drawing.result("packed as", node)


def add_now(drawing: graphs.Drawing, now: Now) -> None:
    """Rollouts, approvals, and where the release is."""
    digest = drawing.root.id
    for view in now.rollouts:
        if view["candidate"] == digest:
            drawing.result("launched as", _rollout(view))
    for event in now.approvals:
        _add_approval(drawing, event)
    places = {(entry["service"], entry["environment"]): _states(entry, digest) for entry in now.services}
    for pin in now.pins:
        if pin["release"] == digest:
            places.setdefault((pin["service"], pin["environment"]), []).append(f"pinned: {pin['reason']}")
    for (service, environment), states in sorted(places.items()):
        for state in states:
            node = graphs.Node(
                id=f"place:{service}/{environment}",
                kind=graphs.Kind.PLACE,
                label=environment,
                detail="; ".join(states),
                facts={"service": service, "environment": environment, "states": states},
            )
            drawing.result(re.split(r"\W", state)[0], node)
    if not any(places.values()):
        drawing.note("It runs nowhere now.")
    if len(now.rollouts) >= ROLLOUTS_MAX:
        drawing.note(f"Only the last {ROLLOUTS_MAX:,} rollouts of the service were looked at.")
    for url in now.repositories:
        shown = training_record.without_secrets([url])[0]
        node = graphs.Node(id=f"repository:{shown}", kind=graphs.Kind.REPOSITORY, label=shown, facts={"url": shown})
        drawing.origin(node, "is followed for")


def _states(entry: Mapping[str, Any], digest: str) -> list[str]:
    """As what a release is in a place, which is an entry of the status."""
    running = entry["rollout"]
    if running is not None and running["phase"] in _PROMOTED:
        share = running["candidate_percent"] or 100.0  # a recreated release is routed to by no share
        if digest == running["candidate"]:
            return ["live, and watched" if share == 100.0 else f"live for {share:g} %, and watched"]
        if digest == entry["stable"] and share < 100.0:
            return [f"live for {100.0 - share:g} %, until the new release was watched"]
        return ["previous"] if digest in (entry["stable"], entry["previous"]) else []
    if digest == entry["stable"]:
        return ["live"]
    if running is not None and digest == running["candidate"]:
        return [f"candidate ({running['candidate_percent']:g} %)"]
    return ["previous"] if digest == entry["previous"] else []


def _rollout(view: Mapping[str, Any]) -> graphs.Node:
    standing = (view["outcome"] or view["phase"]).replace("_", " ")
    names = ("id", "environment", "stable", "ref", "commit", "requested_by", "phase", "outcome", "reason", "created_at")
    return graphs.Node(
        id=f"rollout:{view['id']}",
        kind=graphs.Kind.ROLLOUT,
        label=f"{view['id']} in {view['environment']}",
        detail=f"{day(view['created_at'])} by {view['requested_by']}: {standing}. {view['reason']}".rstrip(),
        facts={**{name: view[name] for name in names}, "finished_at": view["finished_at"]},
    )


def _add_approval(drawing: graphs.Drawing, event: Mapping[str, Any]) -> None:
    """An approval of the history; a signed one is there already, and says more."""
    by = str(event["facts"].get("by") or "")
    node_id = f"approval:{event['environment']}/{event['rollout_id']}/{by}"
    drawing.add(
        graphs.Node(
            id=node_id,
            kind=graphs.Kind.APPROVAL,
            label=by or "approved",
            detail=f"rollout {event['rollout_id']} in {event['environment']}, {day(event['at'])}: {event['text']}",
            facts={
                "by": by,
                "environment": event["environment"],
                "rollout": event["rollout_id"],
                "at": event["at"],
                "text": event["text"],
            },
        )
    )
    link_approval(drawing, node_id, event["rollout_id"])


def link_approval(drawing: graphs.Drawing, node_id: str, rollout: Any) -> None:
    drawing.link(node_id, "approved", drawing.root.id)
    if drawing.find(f"rollout:{rollout}") is not None:
        drawing.link(node_id, "let go on", f"rollout:{rollout}")


def data_node(role: str, uri: str, version: str, sha256: str, *, source: str = "") -> graphs.Node:
    parts = (
        uri,
        f"version {version}" if version else "",
        f"sha256 {sha256[:_SHORT]}",
        f"by {source}" if source else "",
    )
    return graphs.Node(
        id=f"data:{role}:{sha256}",
        kind=graphs.Kind.DATA,
        label=role,
        detail=", ".join(part for part in parts if part),
        facts={"role": role, "uri": uri, "version": version, "sha256": sha256},
    )


def day(seconds: float) -> str:
    """UTC: the same text on every machine."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%MZ")
