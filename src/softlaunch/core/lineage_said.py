"""
What was said of a release, as nodes of its lineage.

Statements come from whoever could write to the registry: nothing is taken for granted about what they hold, and what
cannot be read in one is left out. What was refused has nodes of its own, so that it neither hides nor changes what
verifies, and is not hidden by it.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softlaunch.core import intoto, lineage_nodes, release
from softlaunch.core import lineage_graph as graphs

_SHORT = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """A statement that is attached to the release, and whether it counts here."""

    referrer: str
    """Digest of what carries it."""
    proof: graphs.Proof
    statement: intoto.Statement | None
    """None: it cannot be read, or is about something else."""
    signed_by: tuple[str, ...] = ()
    problem: str = ""


def merged(found: Iterable[Said]) -> list[Said]:
    """One of those that say the same: a verified one when there is one, with the names of all who signed."""
    groups: dict[str, Said] = {}
    for each in found:
        statement = each.statement
        key = each.referrer if statement is None else f"{statement.kind.value} {_canonical(statement.predicate)}"
        before = groups.get(key)
        if before is None or (before.proof is not graphs.Proof.VERIFIED and each.proof is graphs.Proof.VERIFIED):
            groups[key] = each
        elif before.proof is each.proof is graphs.Proof.VERIFIED:
            names = tuple(dict.fromkeys((*before.signed_by, *each.signed_by)))
            groups[key] = dataclasses.replace(before, signed_by=names)
    return list(groups.values())


def add_code(drawing: graphs.Drawing, records: Sequence[release.Lineage], said: Sequence[Said]) -> None:
    """A node for each commit the release was built of."""
    by_commit: dict[str, list[release.Lineage]] = {}
    for record in records:
        by_commit.setdefault(record.commit, []).append(record)
    for commit, same in by_commit.items():
        signed = [each for each in said if any(_is_lineage(each, record) for record in same)]
        best = min(signed, key=lambda each: each.proof is not graphs.Proof.VERIFIED, default=None)
        branches = list(dict.fromkeys(record.branch for record in same if record.branch))
        tags = list(dict.fromkeys(tag for record in same for tag in record.tags))
        last = same[-1]
        node = graphs.Node(
            id=f"commit:{commit}",
            kind=graphs.Kind.CODE,
            label=f"commit {commit[:_SHORT]}",
            detail=", ".join((*branches, *tags, f"by {last.author}", _minute(last.committed_at))),
            proof=best.proof if best is not None else graphs.Proof.UNSIGNED,
            signed_by=best.signed_by if best is not None else (),
            problem=best.problem if best is not None else "",
            facts={
                "commit": commit,
                "branches": branches,
                "tags": tags,
                "author": last.author,
                "committed_at": last.committed_at,
                "built_at": last.built_at,
                "tests": last.tests,
            },
        )
        drawing.origin(node, "built")


def add_said(drawing: graphs.Drawing, said: Sequence[Said], records: Sequence[release.Lineage]) -> None:
    """What was attached to the release, each with whether it verifies."""
    for each in sorted(said, key=lambda found: found.proof is not graphs.Proof.VERIFIED):
        statement = each.statement
        if statement is None:
            drawing.origin(_node(each, graphs.Kind.STATEMENT, each.referrer, each.referrer[7:19]), "is about")
            continue
        match statement.kind:
            case intoto.Kind.DATA:
                _add_inputs(drawing, each, statement)
            case intoto.Kind.LOCK:
                _add_locks(drawing, each, statement)
            case intoto.Kind.TRAINING:
                _add_training_said(drawing, each, statement)
            case intoto.Kind.TESTS:
                _add_tests(drawing, each, statement)
            case intoto.Kind.LOAD:
                names = ", ".join(_text(file.get("name")) for file in _entries(statement.predicate, "files"))
                drawing.origin(_node(each, graphs.Kind.LOAD, each.referrer, names or "load"), "tested")
            case intoto.Kind.APPROVAL:
                _add_approval_said(drawing, each, statement)
            case intoto.Kind.PROVENANCE:
                versions = _mapping(_mapping(statement.predicate.get("buildDefinition")).get("internalParameters"))
                words = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
                drawing.origin(_node(each, graphs.Kind.STATEMENT, each.referrer, "provenance", words), "is about")
            case _:  # lineage, model and metrics say what the nodes of code, model and gates show
                if each.proof is graphs.Proof.REFUSED:
                    drawing.origin(_node(each, graphs.Kind.STATEMENT, each.referrer, statement.kind.value), "is about")
    if not any(node.kind is graphs.Kind.TESTS for node in drawing.graph().nodes):
        for record in sorted(records, key=lambda each: not _is_signed(drawing, each)):
            _add_tests_line(drawing, record)


def _add_approval_said(drawing: graphs.Drawing, said: Said, statement: intoto.Statement) -> None:
    found = statement.predicate
    by, environment, rollout = _text(found.get("by")), _text(found.get("environment")), found.get("rollout")
    reason = f": {_text(found.get('reason'))}" if found.get("reason") else ""
    detail = f"rollout {rollout} in {environment}, {_minute(_text(found.get('at')))}{reason}"
    node = _node(said, graphs.Kind.APPROVAL, f"{environment}/{rollout}/{by}", by, detail, facts=found)
    if said.proof is graphs.Proof.REFUSED:
        drawing.origin(node, "is about")
        return
    known = drawing.find(node.id)
    if known is None or known.proof is not graphs.Proof.VERIFIED:
        drawing.put(node)  # it says more than the history does
    lineage_nodes.link_approval(drawing, node.id, rollout)


def _add_inputs(drawing: graphs.Drawing, said: Said, statement: intoto.Statement) -> None:
    for entry in _entries(statement.predicate, "files"):
        version = _text(_mapping(entry.get("annotations")).get("version"))
        sha256 = _text(_mapping(entry.get("digest")).get("sha256"))
        node = lineage_nodes.data_node(_text(entry.get("name")), _text(entry.get("uri")), version, sha256)
        told = dataclasses.replace(
            node, id=_own(said, node.id), proof=said.proof, signed_by=said.signed_by, problem=said.problem
        )
        drawing.origin(told, "went into")


def _add_locks(drawing: graphs.Drawing, said: Said, statement: intoto.Statement) -> None:
    for entry in _entries(statement.predicate, "files"):
        sha256 = _text(_mapping(entry.get("digest")).get("sha256"))
        name = _text(entry.get("name"))
        facts = {"path": name, "sha256": sha256}
        node = _node(said, graphs.Kind.REQUIREMENTS, sha256, name, f"sha256 {sha256[:_SHORT]}", facts=facts)
        drawing.origin(node, "locked")


def _add_training_said(drawing: graphs.Drawing, said: Said, statement: intoto.Statement) -> None:
    run = _text(statement.predicate.get("run"))
    if run:
        sha256 = _text(_mapping(statement.predicate.get("digest")).get("sha256"))
        facts = {"run": run, "record": _mapping(statement.predicate.get("record")), "sha256": sha256}
        node = _node(said, graphs.Kind.TRAINING, run, f"run {run}", facts=facts)
    else:
        names = ", ".join(_text(file.get("name")) for file in _entries(statement.predicate, "files"))
        node = _node(said, graphs.Kind.TRAINING, said.referrer, names or "record")
    drawing.origin(node, "trained")


def _is_signed(drawing: graphs.Drawing, record: release.Lineage) -> bool:
    commit = drawing.find(f"commit:{record.commit}")
    return commit is not None and commit.proof is graphs.Proof.VERIFIED


def _add_tests_line(drawing: graphs.Drawing, record: release.Lineage) -> None:
    """What the lineage says of tests: as good as the lineage is."""
    commit = drawing.find(f"commit:{record.commit}")
    node = graphs.Node(
        id=f"tests:{_hash(record.tests)}",
        kind=graphs.Kind.TESTS,
        label=record.tests,
        proof=commit.proof if commit is not None else graphs.Proof.UNSIGNED,
        signed_by=commit.signed_by if commit is not None else (),
        problem=commit.problem if commit is not None else "",
        facts={"commit": record.commit, "summary": record.tests},
    )
    if record.tests:
        drawing.origin(node, "tested")


def _add_tests(drawing: graphs.Drawing, said: Said, statement: intoto.Statement) -> None:
    found = statement.predicate
    notes = _mapping(found.get("annotations"))
    reports = [
        {"name": _text(each.get("name")), "sha256": _text(_mapping(each.get("digest")).get("sha256"))}
        for each in _entries(notes, "reports")
    ]
    summary = _text(notes.get("summary"))
    label = _text(found.get("result")).lower() or "no result"
    detail = ", ".join(filter(None, (summary, *(f"{each['name']} {each['sha256'][:_SHORT]}" for each in reports))))
    facts = {"result": label, "summary": summary, "reports": reports}
    drawing.origin(_node(said, graphs.Kind.TESTS, said.referrer, label, detail, facts=facts), "tested")


def _node(
    said: Said, kind: graphs.Kind, name: str, label: str, detail: str = "", *, facts: Mapping[str, Any] | None = None
) -> graphs.Node:
    return graphs.Node(
        id=_own(said, f"{kind.value}:{name}"),
        kind=kind,
        label=label,
        detail=detail,
        proof=said.proof,
        signed_by=said.signed_by,
        problem=said.problem,
        facts={**(facts or {}), "referrer": said.referrer},
    )


def _own(said: Said, node_id: str) -> str:
    """The id of a node, by which nothing that was refused is taken for something that verifies."""
    return f"{node_id}@{said.referrer}" if said.proof is graphs.Proof.REFUSED else node_id


def _is_lineage(said: Said, record: release.Lineage) -> bool:
    if said.statement is None or said.statement.kind is not intoto.Kind.LINEAGE:
        return False
    return _canonical(said.statement.predicate) == _canonical(dataclasses.asdict(record))


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _entries(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = found.get(name)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _minute(moment: str) -> str:
    try:
        return lineage_nodes.day(datetime.datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError):
        return moment


def _canonical(found: Mapping[str, Any]) -> str:
    return json.dumps(found, sort_keys=True, default=list)


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:_SHORT]
