"""Records as rows and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from softlaunch import errors
from softlaunch.core import history_chain, release, spec, spec_json
from softlaunch.core.rollout import state_json
from softlaunch.ports import store

Row = dict[str, Any]
_WRAP = 1 << 64
_SIGN = 1 << 63


def live_row(record: store.LiveRecord) -> Row:
    return {
        "service": record.service,
        "environment": record.environment,
        "spec": _spec_text(record.spec),
        "stable": _text(record.stable),
        "previous": _text(record.previous),
        "epoch": record.epoch,
        "history": dump_facts(record.history),
        "warm_until": record.warm_until,
        "previous_spec": None if record.previous_spec is None else _spec_text(record.previous_spec),
    }


def live(row: sa.RowMapping) -> store.LiveRecord:
    return store.LiveRecord(
        service=row["service"],
        environment=row["environment"],
        spec=_spec(row["spec"]),
        stable=_digest(row["stable"]),
        previous=_digest(row["previous"]),
        epoch=row["epoch"],
        history=json.loads(row["history"]),
        warm_until=row["warm_until"],
        previous_spec=None if row["previous_spec"] is None else _spec(row["previous_spec"]),
    )


def rollout_row(record: store.RolloutRecord) -> Row:
    return {
        "id": record.id,
        "service": record.service,
        "environment": record.environment,
        "candidate": record.candidate.text,
        "stable": _text(record.stable),
        "phase": record.state.phase.value,
        "state": _line(state_json.dump(record.state)),
        "ref": record.ref,
        "commit_id": record.commit,
        "requested_by": record.requested_by,
        "salt": record.salt,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "spec": _spec_text(record.spec),
        "evidence": dump_facts(record.evidence),
        "measured": dump_facts(record.measured),
        "successor": None if record.successor is None else _successor_text(record.successor),
        "settings_changed": history_chain.canonical(record.settings_changed),
    }


def rollout(row: sa.RowMapping) -> store.RolloutRecord:
    return store.RolloutRecord(
        id=row["id"],
        service=row["service"],
        environment=row["environment"],
        candidate=release.parse(row["candidate"]),
        stable=_digest(row["stable"]),
        spec=_spec(row["spec"]),
        state=state_json.load(row["state"].encode()),
        ref=row["ref"],
        commit=row["commit_id"],
        requested_by=row["requested_by"],
        salt=row["salt"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        evidence=json.loads(row["evidence"]),
        measured=json.loads(row["measured"]),
        successor=None if row["successor"] is None else _successor(row["successor"]),
        settings_changed=json.loads(row["settings_changed"]),
    )


def event_row(event: store.HistoryEvent) -> Row:
    return {
        "at": event.at,
        "service": event.service,
        "environment": event.environment,
        "rollout_id": event.rollout_id,
        "kind": event.kind,
        "text": _whole(event.text),  # may quote what a process printed
        "facts": history_chain.canonical(event.facts),
    }


def event(row: sa.RowMapping) -> store.HistoryEvent:
    found = dict(row)
    return store.HistoryEvent(facts=json.loads(found.pop("facts")), **found)


def pin_row(pin: store.Pin) -> Row:
    return {
        "service": pin.service,
        "environment": pin.environment,
        "release": pin.release.text,
        "at": pin.at,
        "commit_id": pin.commit,
        "reason": _whole(pin.reason),
        "by": _whole(pin.by),
        "lifted_at": pin.lifted_at,
        "lifted_by": _whole(pin.lifted_by),
        "lifted_reason": _whole(pin.lifted_reason),
    }


def pin(row: sa.RowMapping) -> store.Pin:
    found = dict(row)
    return store.Pin(commit=found.pop("commit_id"), release=release.parse(found.pop("release")), **found)


def complaint_row(complaint: store.Complaint) -> Row:
    return {
        "at": complaint.at,
        "service": complaint.service,
        "environment": complaint.environment,
        "release": complaint.release,
        "prediction": _whole(complaint.prediction),
        "text": _whole(complaint.text),
        "by": _whole(complaint.by),
        "source": complaint.source,
        "external_id": _whole(complaint.external_id),
    }


def complaint(row: sa.RowMapping) -> store.Complaint:
    return store.Complaint(**row)


def bookmark_row(name: str, text: str) -> Row:
    return {"name": name, "text": _whole(text)}


def dump_facts(facts: Mapping[str, Any]) -> str:
    """JSON as Python writes it: a log-likelihood may be -Infinity, and must come back as such."""
    return json.dumps(facts, separators=(",", ":"))


def signed(value: int) -> int:
    """
    An unsigned 64-bit number (a key hash, an inode) as SQL's signed one with the same bits.

    Raises:
        InvariantError: below 0, or more than 64 bits.
    """
    if not 0 <= value < _WRAP:
        raise errors.InvariantError(f"Not an unsigned 64-bit number: {value}.")
    return value - _WRAP if value >= _SIGN else value


def unsigned(value: int) -> int:
    return value + _WRAP if value < 0 else value


def _successor_text(successor: store.Successor) -> str:
    document = {
        "id": successor.id,
        "release": successor.release.text,
        "spec": json.loads(spec_json.dump_environment(successor.spec)),
        "ref": successor.ref,
        "commit": successor.commit,
        "requested_by": successor.requested_by,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _successor(text: str) -> store.Successor:
    document = json.loads(text)
    return store.Successor(
        id=document["id"],
        release=release.parse(document["release"]),
        spec=spec_json.load_environment(json.dumps(document["spec"]).encode()),
        ref=document["ref"],
        commit=document["commit"],
        requested_by=document["requested_by"],
    )


def _whole(text: str) -> str:
    """What SQLite takes: half a character, as a process may print it, becomes a question mark."""
    return text.encode(errors="replace").decode()


def _spec_text(environment: spec.EnvironmentSpec) -> str:
    return _line(spec_json.dump_environment(environment))


def _spec(text: str) -> spec.EnvironmentSpec:
    return spec_json.load_environment(text.encode())


def _line(raw: bytes) -> str:
    return raw.decode().removesuffix("\n")


def _text(digest: release.Digest | None) -> str | None:
    return None if digest is None else digest.text


def _digest(text: str | None) -> release.Digest | None:
    return None if text is None else release.parse(text)
