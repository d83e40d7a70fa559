"""The state store: what the control plane must still know after being killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from softlaunch.core import release, spec
from softlaunch.core.rollout import phases
from softlaunch.ports import gateway


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveRecord:
    """One service in one environment: what serves there outside and inside rollouts."""

    service: str
    environment: str
    previous_spec: spec.EnvironmentSpec | None = None
    """As `spec` was while `previous` was stable: its settings; None: not known, or there is no previous one."""
    spec: spec.EnvironmentSpec
    """As of the last launch: fallback, replicas, key header, env."""
    stable: release.Digest | None
    """An arm: the release, with the settings it runs with. None until the first is live."""
    previous: release.Digest | None = None
    """An arm."""
    warm_until: float = 0.0
    """Until then (Unix seconds) the previous release's replicas stay ready: going back takes less than a second."""
    epoch: int = 0
    """Number of the latest routing decision; grows by one with every change of arms or weight."""
    history: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Stable's own record: latency histogram and bad-event rates (controller.history)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Successor:
    """A release that was asked for while a rollout ran: its own rollout begins when that one has ended."""

    id: int
    """The number its rollout will have."""
    release: release.Digest
    """An arm."""
    spec: spec.EnvironmentSpec
    ref: str
    commit: str
    requested_by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutRecord:
    id: int
    service: str
    environment: str
    candidate: release.Digest
    """An arm, as `stable` is."""
    stable: release.Digest | None
    spec: spec.EnvironmentSpec
    state: phases.State
    ref: str
    """What the user asked for: branch, tag, commit or digest."""
    commit: str
    requested_by: str
    salt: str
    created_at: float
    finished_at: float | None = None
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The judge's state, without the keys already seen."""
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Facts for people: first bad attempt, all traffic on stable again, attempts spent (controller.analysis)."""
    successor: Successor | None = None
    settings_changed: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Names of variables that are `added`, `changed` or `removed` against what stable runs with; empty: none is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryEvent:
    id: int
    """0 in a Change: the store numbers it."""
    at: float
    service: str
    environment: str
    rollout_id: int | None
    kind: str
    text: str
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What programs read of it (controller.history.facts)."""
    hash: str = dataclasses.field(default="", compare=False)
    """Empty in a Change: the store chains it (core.history_chain)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pin:
    """Do not launch this release here again, until somebody lifts the pin with a reason."""

    service: str
    environment: str
    release: release.Digest
    """A release.Arm (of number 0, too): with those settings only. Otherwise with any."""
    commit: str
    reason: str
    by: str
    at: float
    lifted_at: float | None = None
    lifted_by: str = ""
    lifted_reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Complaint:
    """What a person says about one prediction."""

    id: int
    """0 in a Change: the store numbers it."""
    at: float
    service: str
    environment: str
    release: str
    """Digest.short of the release that answered; empty when it is not known any more."""
    prediction: str
    """REQUEST-ID or REQUEST-ID:ROW."""
    text: str
    by: str
    source: str
    """`cli`, `api` or `ticket`."""
    external_id: str = ""
    """The ticket's own id: the same ticket told twice is one complaint."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """Everything the control loop needs to go on."""

    lives: tuple[LiveRecord, ...] = ()
    rollouts: tuple[RolloutRecord, ...] = ()
    """Unfinished ones."""
    listeners: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Port by environment name, once given never changed."""
    cursor: gateway.LogCursor = dataclasses.field(default_factory=gateway.LogCursor)
    rollout_id_last: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What one commit writes, all of it or nothing."""

    lives: Sequence[LiveRecord] = ()
    rollouts: Sequence[RolloutRecord] = ()
    listeners: Mapping[str, int] = dataclasses.field(default_factory=dict)
    events: Sequence[HistoryEvent] = ()
    cursor: gateway.LogCursor | None = None
    keys: Mapping[int, Sequence[tuple[str, int]]] = dataclasses.field(default_factory=dict)
    """By rollout: (guardrail, unsigned 64-bit key hash) of users newly seen with a bad event."""
    pins: Sequence[Pin] = ()
    """A pin of the same (service, environment, release, at) replaces the one before (it was lifted)."""
    complaints: Sequence[Complaint] = ()
    bookmarks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Small texts by name that a part of the control plane keeps for itself: how far it has got."""

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not any(getattr(self, field.name) for field in dataclasses.fields(self))


class Store(Protocol):
    def load(self) -> World:
        """The state as of the last commit."""
        ...

    def commit(self, change: Change) -> None:
        """
        Writes the change durably, all of it or nothing.

        Raises:
            UnavailableError: it could not be written (disk full, file gone); nothing was.
        """
        ...

    def keys(self, rollout_id: int) -> Sequence[tuple[str, int]]:
        """Every (guardrail, key hash) committed for a rollout."""
        ...

    def rollout(self, rollout_id: int) -> RolloutRecord | None:
        """One rollout, finished or not; None when there is none of that number."""
        ...

    def rollouts(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        release: release.Digest | None = None,
        limit: int = 50,
    ) -> Sequence[RolloutRecord]:
        """Rollouts, newest first, finished ones too; with `release` only those that brought it, with any settings."""
        ...

    def events(
        self,
        *,
        service: str | None = None,
        environment: str | None = None,
        rollout_id: int | None = None,
        after_id: int = 0,
        limit: int = 200,
    ) -> Sequence[HistoryEvent]:
        """History records, oldest first."""
        ...

    def pins(self, *, service: str | None = None, environment: str | None = None) -> Sequence[Pin]:
        """Pins, newest first, lifted ones too."""
        ...

    def complaints(
        self, *, service: str | None = None, environment: str | None = None, since: float = 0.0, limit: int = 1_000
    ) -> Sequence[Complaint]:
        """Complaints since then, newest first."""
        ...

    def bookmark(self, name: str) -> str | None:
        """The text kept under that name; None when there is none."""
        ...
