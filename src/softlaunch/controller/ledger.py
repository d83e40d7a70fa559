"""
The ledger: the world in memory, and what of it is not written down yet.

Only the control loop and the commands write to it, under one lock. A flush writes everything pending in one
transaction: a decision, the evidence it rests on and the place in the attempt log up to which that evidence was read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.controller import history
from softlaunch.core.rollout import machine, messages
from softlaunch.ports import gateway
from softlaunch.ports import store as store_records

Place = tuple[str, str]
"""(service, environment)."""


class Ledger:
    def __init__(self, store: store_records.Store) -> None:
        world = store.load()
        self._store = store
        self.lives: dict[Place, store_records.LiveRecord] = {
            (found.service, found.environment): found for found in world.lives
        }
        self.rollouts: dict[Place, store_records.RolloutRecord] = {
            (found.service, found.environment): found for found in world.rollouts
        }
        self.listeners: dict[str, int] = dict(world.listeners)
        self.cursor: gateway.LogCursor = world.cursor
        promised = (found.successor.id for found in world.rollouts if found.successor is not None)
        self.rollout_id_last: int = max(world.rollout_id_last, *promised, 0)
        self._lives_pending: set[Place] = set()
        self._rollouts_pending: dict[int, store_records.RolloutRecord] = {}
        self._listeners_pending: dict[str, int] = {}
        self._events_pending: list[store_records.HistoryEvent] = []
        self._cursor_pending = False
        self._keys_pending: dict[int, list[tuple[str, int]]] = {}
        self._pins_pending: list[store_records.Pin] = []

    @property
    def urgent(self) -> bool:
        """Something waits that may not wait: a decision, a command. Evidence alone may."""
        return bool(self._events_pending or self._listeners_pending or self._pins_pending)

    def put_live(self, record: store_records.LiveRecord) -> None:
        place = (record.service, record.environment)
        self.lives[place] = record
        self._lives_pending.add(place)

    def put_rollout(self, record: store_records.RolloutRecord) -> None:
        """Keeps the newest form of a rollout; a finished one leaves memory, not the store."""
        place = (record.service, record.environment)
        self.rollout_id_last = max(self.rollout_id_last, record.id)
        if machine.is_final(record.state):
            self.rollouts.pop(place, None)
        else:
            self.rollouts[place] = record
        self._rollouts_pending[record.id] = record

    def withdraw(self, record: store_records.RolloutRecord, *, first: bool, new_listener: bool) -> None:
        """
        Takes back a rollout that was put here and never written.

        Args:
            record: As it was put.
            first: Its place was made for it.
            new_listener: Its environment's listener was.
        """
        place = (record.service, record.environment)
        self.rollouts.pop(place, None)
        self._rollouts_pending.pop(record.id, None)
        self._keys_pending.pop(record.id, None)
        self._events_pending = [found for found in self._events_pending if found.rollout_id != record.id]
        self.rollout_id_last = record.id - 1
        if first:
            self.lives.pop(place, None)
            self._lives_pending.discard(place)
        if new_listener:
            self.listeners.pop(record.environment, None)
            self._listeners_pending.pop(record.environment, None)

    def put_listener(self, environment: str, port: int) -> None:
        self.listeners[environment] = port
        self._listeners_pending[environment] = port

    def put_pin(self, pin: store_records.Pin) -> None:
        self._pins_pending.append(pin)

    def put_cursor(self, cursor: gateway.LogCursor) -> None:
        if cursor != self.cursor:
            self.cursor = cursor
            self._cursor_pending = True

    def put_keys(self, rollout_id: int, keys: Sequence[tuple[str, int]]) -> None:
        if keys:
            self._keys_pending.setdefault(rollout_id, []).extend(keys)

    def note(
        self,
        place: Place,
        *,
        at: float,
        rollout_id: int | None,
        kind: str,
        text: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a history record."""
        self._events_pending.append(
            store_records.HistoryEvent(
                id=0,
                at=at,
                service=place[0],
                environment=place[1],
                rollout_id=rollout_id,
                kind=kind,
                text=text,
                facts=facts or {},
            )
        )

    def announce(
        self,
        record: store_records.RolloutRecord,
        announcements: Sequence[messages.Announcement],
        *,
        at: float,
        by: str = "",
        measured: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Adds records about a rollout as it is now; its place is in the ledger as it is now, too.

        Args:
            record: The rollout.
            announcements: What to say.
            at: Unix seconds.
            by: Who asked for what happened.
            measured: By what verification; told with the first announcement.
        """
        place = (record.service, record.environment)
        approval = messages.AnnouncementKind.APPROVED
        is_approval = any(found.kind is approval for found in announcements)
        for found in announcements:
            # Of an approval and what follows from it only the approval is somebody's.
            said_by = "" if is_approval and found.kind is not approval else by
            facts = history.facts(record, stable=self.lives[place].stable, by=said_by)
            if measured and found is announcements[0]:
                facts["verification"] = dict(measured)
            self.note(place, at=at, rollout_id=record.id, kind=found.kind.value, text=found.text, facts=facts)

    def flush(self) -> None:
        """
        Writes all that is pending, or nothing.

        Raises:
            UnavailableError: it could not be written; it stays pending.
        """
        change = store_records.Change(
            lives=[self.lives[place] for place in sorted(self._lives_pending)],
            rollouts=list(self._rollouts_pending.values()),
            listeners=dict(self._listeners_pending),
            events=list(self._events_pending),
            cursor=self.cursor if self._cursor_pending else None,
            keys={number: tuple(keys) for number, keys in self._keys_pending.items()},
            pins=list(self._pins_pending),
        )
        if change.empty:
            return
        self._store.commit(change)
        self._lives_pending.clear()
        self._rollouts_pending.clear()
        self._listeners_pending.clear()
        self._events_pending.clear()
        self._cursor_pending = False
        self._keys_pending.clear()
        self._pins_pending.clear()


def advanced(record: store_records.RolloutRecord, step: machine.Step, *, now: float) -> store_records.RolloutRecord:
    """The record after a step of the machine."""
    finished = now if machine.is_final(step.state) else None
    return dataclasses.replace(record, state=step.state, finished_at=finished)
