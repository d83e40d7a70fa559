"""
What was live at a moment, told by the history's records alone.

Each record about a rollout carries facts: who entered, which release is stable, and who answers which share. The state
of a place at T is what its last record (by number) whose time is T or earlier says; later records say when and why it
ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from softlaunch.core import release

APPROVED = "approved"
_REASONS = frozenset({"rolling_back", "finished", "promoted"})
"""Records whose text says why a rollout ended as it did."""
_DECISIONS = frozenset({"step", "promoted", "finished", "rolling_back"})
_FINAL = frozenset({"promoted", "rolled_back", "aborted"})
Place = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One record of the history, with its facts."""

    at: float
    service: str
    environment: str
    rollout_id: int | None
    kind: str
    text: str
    facts: Mapping[str, Any]


@dataclasses.dataclass(kw_only=True)
class Launch:
    """A release that entered a place."""

    rollout: int
    release: str
    """An arm, as text."""
    ref: str
    commit: str
    requested_by: str
    started_at: float
    asked: str
    """What was asked for, one sentence."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Names of variables it added, changed and removed."""
    approved_by: list[str] = dataclasses.field(default_factory=list)
    decided_by: list[str] = dataclasses.field(default_factory=list)
    """Who went on or back in place of the evidence."""
    ended_at: float | None = None
    outcome: str | None = None
    """promoted, rolled_back or aborted; None: it had not ended when the history was read."""
    why: str = ""
    first_record: int = 0
    last_record: int | None = None

    def document(self) -> dict[str, Any]:
        return {
            "rollout": self.rollout,
            **_named(self.release),
            "ref": self.ref,
            "commit": self.commit,
            "requested_by": self.requested_by,
            "started_at": self.started_at,
            "asked": self.asked,
            "settings_changed": dict(self.settings),
            "approved_by": list(self.approved_by),
            "decided_by": list(self.decided_by),
            "ended_at": self.ended_at,
            "outcome": self.outcome,
            "why": self.why,
        }


@dataclasses.dataclass(kw_only=True)
class Reign:
    """The time for which a release was a place's stable release."""

    release: str
    """An arm, as text."""
    since: float
    launch: Launch | None
    until: float | None = None
    successor: Launch | None = None
    """What took its place."""
    why: str = ""
    first_record: int = 0
    last_record: int | None = None

    def document(self) -> dict[str, Any]:
        return {
            **_named(self.release),
            "since": self.since,
            "launch": self.launch.document() if self.launch is not None else None,
            "until": self.until,
            "left_for": release.parse(self.successor.release).value if self.successor is not None else None,
            "left_for_arm": release.parse(self.successor.release).short if self.successor is not None else None,
            "left_by_rollout": self.successor.rollout if self.successor is not None else None,
            "why": self.why,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A place at a moment."""

    service: str
    environment: str
    serves: Mapping[str, float]
    """Percent of the requests by arm; empty while nothing answers."""
    live: Reign | None
    entering: Launch | None

    def document(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "environment": self.environment,
            "serves": dict(self.serves),
            "live": self.live.document() if self.live is not None else None,
            "entering": self.entering.document() if self.entering is not None else None,
        }


class Timeline:
    """One place's history."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._launches: list[Launch] = []
        self._reigns: list[Reign] = []

    def add(self, record: Record) -> None:
        """The next record; records without facts say nothing here."""
        if not record.facts.get("release") or record.rollout_id is None:
            return
        number = len(self._records)
        self._records.append(record)
        launch = self._launch(record, number)
        by = record.facts.get("by")
        if by and record.kind == APPROVED:
            launch.approved_by.append(str(by))
        elif by and record.kind in _DECISIONS:
            launch.decided_by.append(str(by))
        if record.kind in _REASONS:
            launch.why = record.text
        stable = record.facts.get("stable")
        reign = self._reigns[-1] if self._reigns and self._reigns[-1].until is None else None
        if stable != (reign.release if reign is not None else None):
            self._change(record, number, launch, reign)
        if record.facts["phase"] in _FINAL:
            launch.ended_at, launch.outcome, launch.last_record = record.at, record.facts["phase"], number
            launch.why = launch.why or record.text

    def at(self, moment: float) -> Moment | None:
        """The place at that moment (Unix seconds); None: nothing had been launched there."""
        number = max((index for index, record in enumerate(self._records) if record.at <= moment), default=None)
        if number is None:
            return None
        record = self._records[number]
        return Moment(
            service=record.service,
            environment=record.environment,
            serves=record.facts["serves"],
            live=next((found for found in self._reigns if _holds(found, number)), None),
            entering=next((found for found in self._launches if _holds(found, number)), None),
        )

    def _launch(self, record: Record, number: int) -> Launch:
        found = self._launches[-1] if self._launches else None
        if found is not None and found.rollout == record.rollout_id:
            return found
        assert record.rollout_id is not None
        made = Launch(
            rollout=record.rollout_id,
            release=record.facts["release"],
            ref=record.facts["ref"],
            commit=record.facts["commit"],
            requested_by=record.facts["requested_by"],
            started_at=record.at,
            asked=record.text,
            settings=record.facts.get("settings", {}),
            first_record=number,
        )
        self._launches.append(made)
        return made

    def _change(self, record: Record, number: int, launch: Launch, reign: Reign | None) -> None:
        """Another release is stable from this record on."""
        stable = record.facts.get("stable")
        entered = launch if stable == launch.release else None
        if reign is not None:
            reign.until, reign.successor, reign.last_record = record.at, entered, number
            reign.why = " ".join(dict.fromkeys((launch.asked, record.text)))
        if stable is not None:
            self._reigns.append(Reign(release=stable, since=record.at, launch=entered, first_record=number))


def moments(records: Iterable[Record], moment: float) -> list[Moment]:
    """Every place at that moment, by name; records in the order of their numbers."""
    places: dict[Place, Timeline] = {}
    for record in records:
        places.setdefault((record.service, record.environment), Timeline()).add(record)
    found = (places[place].at(moment) for place in sorted(places))
    return [each for each in found if each is not None]


def _named(text: str) -> dict[str, str]:
    arm = release.parse(text)
    return {"release": arm.value, "arm": arm.short}


def _holds(found: Launch | Reign, number: int) -> bool:
    return found.first_record <= number and (found.last_record is None or number < found.last_record)
