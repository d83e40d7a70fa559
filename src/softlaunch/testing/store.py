"""
A state store in memory, for tests of whatever keeps state; it forgets everything with the process.

It passes the contract suite of ports.store (tests/contract/test_store.py), as the real one does. To play a restart,
build the second control plane on the same object; to play a full disk, call `fail`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.core import history_chain, release
from softlaunch.ports import gateway, store


@dataclasses.dataclass(kw_only=True)
class _Content:
    lives: dict[tuple[str, str], store.LiveRecord] = dataclasses.field(default_factory=dict)
    rollouts: dict[int, store.RolloutRecord] = dataclasses.field(default_factory=dict)
    listeners: dict[str, int] = dataclasses.field(default_factory=dict)
    cursor: gateway.LogCursor = dataclasses.field(default_factory=gateway.LogCursor)
    events: list[store.HistoryEvent] = dataclasses.field(default_factory=list)
    keys: dict[int, list[tuple[str, int]]] = dataclasses.field(default_factory=dict)
    pins: dict[tuple[str, str, str, float], store.Pin] = dataclasses.field(default_factory=dict)
    complaints: list[store.Complaint] = dataclasses.field(default_factory=list)
    bookmarks: dict[str, str] = dataclasses.field(default_factory=dict)


class InMemoryStore:
    """A ports.store.Store without a disk."""

    def __init__(self) -> None:
        self._content = _Content()
        self._failure: str | None = None
        self._lock = threading.Lock()
        self.commit_count = 0
        """How many commits were acknowledged."""

    def fail(self, reason: str | None = "database or disk is full") -> None:
        """From now on commits are refused for this reason; None: they succeed again."""
        self._failure = reason

    def load(self) -> store.World:
        with self._lock:
            content = self._content
            found = [content.rollouts[number] for number in sorted(content.rollouts)]
            running = tuple(record for record in found if record.finished_at is None)
            promised = [record.successor.id for record in running if record.successor is not None]
            return store.World(
                lives=tuple(content.lives[place] for place in sorted(content.lives)),
                rollouts=running,
                listeners=dict(content.listeners),
                cursor=content.cursor,
                rollout_id_last=max(*content.rollouts, *promised, 0, 0),
            )

    def commit(self, change: store.Change) -> None:
        with self._lock:
            if self._failure is not None:
                raise errors.UnavailableError(
                    f"The state could not be written: {self._failure}.",
                    remedy="Nothing was written; call fail(None) to let commits succeed again.",
                    code=errors.Code.STATE_UNWRITABLE,
                )
            content = self._content
            _check(content, change)
            lives = [_written_live(record) for record in change.lives]
            rollouts = [_written_rollout(record) for record in change.rollouts]
            content.lives.update({(record.service, record.environment): record for record in lives})
            content.rollouts.update({record.id: record for record in rollouts})
            content.listeners.update(change.listeners)
            for event in change.events:
                content.events.append(_chained(event, content.events))
            for number, keys in change.keys.items():
                content.keys.setdefault(number, []).extend(keys)
            if change.cursor is not None:
                content.cursor = change.cursor
            for pin in change.pins:
                content.pins[pin.service, pin.environment, pin.release.text, pin.at] = pin
            for complaint in change.complaints:
                _add_complaint(content, complaint)
            content.bookmarks.update(change.bookmarks)
            self.commit_count += 1

    def keys(self, rollout_id: int) -> Sequence[tuple[str, int]]:
        with self._lock:
            return tuple(self._content.keys.get(rollout_id, ()))

    def rollout(self, rollout_id: int) -> store.RolloutRecord | None:
        with self._lock:
            return self._content.rollouts.get(rollout_id)

    def rollouts(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        release: release.Digest | None = None,
        limit: int = 50,
    ) -> Sequence[store.RolloutRecord]:
        with self._lock:
            numbers = sorted(self._content.rollouts, reverse=True)
            newest_first = [self._content.rollouts[number] for number in numbers]
        if release is not None:
            newest_first = [found for found in newest_first if found.candidate.release == release.release]
        return tuple(found for found in newest_first if _matches(found, service, environment))[:limit]

    def events(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        rollout_id: int | None = None,
        after_id: int = 0,
        limit: int = 200,
    ) -> Sequence[store.HistoryEvent]:
        with self._lock:
            later = self._content.events[max(0, after_id) :]
        return tuple(
            found for found in later if _matches(found, service, environment) and rollout_id in (None, found.rollout_id)
        )[:limit]

    def pins(self, *, service: str | None = None, environment: str | None = None) -> Sequence[store.Pin]:
        with self._lock:
            found = [self._content.pins[key] for key in sorted(self._content.pins)]
        newest_first = sorted(found, key=lambda pin: -pin.at)
        return tuple(pin for pin in newest_first if _matches(pin, service, environment))

    def complaints(
        self, *, service: str | None = None, environment: str | None = None, since: float = 0.0, limit: int = 1_000
    ) -> Sequence[store.Complaint]:
        with self._lock:
            newest_first = sorted(self._content.complaints, key=lambda found: (-found.at, -found.id))
        return tuple(found for found in newest_first if found.at >= since and _matches(found, service, environment))[
            :limit
        ]

    def bookmark(self, name: str) -> str | None:
        with self._lock:
            return self._content.bookmarks.get(name)


def _chained(event: store.HistoryEvent, before: Sequence[store.HistoryEvent]) -> store.HistoryEvent:
    record = history_chain.Record(
        id=0,
        at=event.at,
        service=event.service,
        environment=event.environment,
        rollout_id=event.rollout_id,
        kind=event.kind,
        text=event.text,
        facts=history_chain.canonical(event.facts),
        hash="",
    )
    last = history_chain.Head(id=before[-1].id, hash=before[-1].hash) if before else None
    (linked,) = history_chain.chain(last, [record])
    return dataclasses.replace(event, id=linked.id, facts=json.loads(linked.facts), hash=linked.hash)


def _add_complaint(content: _Content, complaint: store.Complaint) -> None:
    """A ticket that is there already is left as it was."""
    known = {found.external_id for found in content.complaints if found.external_id}
    if complaint.external_id not in known:
        content.complaints.append(dataclasses.replace(complaint, id=len(content.complaints) + 1))


def _check(content: _Content, change: store.Change) -> None:
    """The rules a database schema would enforce, all of them before anything is touched."""
    rollouts = {**content.rollouts, **{found.id: found for found in change.rollouts}}
    places = [(found.service, found.environment) for found in rollouts.values() if found.finished_at is None]
    if len(places) != len(set(places)):
        raise errors.InvariantError("Two unfinished rollouts in one place.")
    owners = {event.rollout_id for event in change.events if event.rollout_id is not None} | change.keys.keys()
    if not owners <= rollouts.keys():
        raise errors.InvariantError(f"No such rollout: {sorted(owners - rollouts.keys())}.")
    for environment, port in change.listeners.items():
        given = content.listeners.get(environment, port)
        if given != port:
            raise errors.InvariantError(
                f"Environment {environment!r} listens on {given}, which never changes to {port}."
            )
    if any(event.id or event.hash for event in change.events) or any(found.id for found in change.complaints):
        raise errors.InvariantError("A new record in a change has a number: the store gives the numbers.")
    for _, key in itertools.chain.from_iterable(change.keys.values()):
        if not 0 <= key < 1 << 64:
            raise errors.InvariantError(f"Not an unsigned 64-bit number: {key}.")


def _written_live(record: store.LiveRecord) -> store.LiveRecord:
    return dataclasses.replace(record, history=_written(record.history))


def _written_rollout(record: store.RolloutRecord) -> store.RolloutRecord:
    return dataclasses.replace(
        record,
        evidence=_written(record.evidence),
        measured=_written(record.measured),
        settings_changed=_written(record.settings_changed),
    )


def _written(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What JSON makes of it: a test must not rely on a tuple or a number as key coming back."""
    written: dict[str, Any] = json.loads(json.dumps(facts))
    return written


def _matches(
    found: store.RolloutRecord | store.HistoryEvent | store.Pin | store.Complaint,
    service: str | None,
    environment: str | None,
) -> bool:
    return service in (None, found.service) and environment in (None, found.environment)
