"""
The notifier: tells every history event to every target of its environment, at least once.

Each target has a place in the history of its own, so that a broken one holds no other. Nothing is queued: what is to be
told is read from the store after the target's place, some events in one message. The places are a small JSON document
that the caller keeps; when it is older than what was sent, some messages are sent twice.

A target that fails is tried again after 5, 10, 20, ... seconds, at most every quarter of an hour. What is older than a
day by then is given up, and the next message that arrives says how much that was.

Outbox decides, in any time it is told; Notifier reads, and sends in threads.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from softlaunch import errors
from softlaunch.core import env_references
from softlaunch.ports import notify, store

LOG = structlog.get_logger()

RETRY_SECONDS_MIN = 5.0
RETRY_SECONDS_MAX = 900.0
GIVE_UP_SECONDS = 86_400.0
MESSAGE_EVENTS_MAX = 20
READ_EVENTS_MAX = 500

Targets = Callable[[str, str], Mapping[str, str]]
"""Targets of (service, environment) as EnvironmentSpec.notify has them, now."""


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Address:
    """One target of one service in one environment."""

    service: str
    environment: str
    name: str


@dataclasses.dataclass(kw_only=True)
class _Place:
    told_id: int
    """The latest event it has been told, or was given up."""
    last_id: int
    """The latest event there is for it."""
    failures: int = 0
    retry_at: float = 0.0
    dropped: int = 0
    """Events given up and not confessed yet."""
    reason: str = ""


class Outbox:
    """
    Who has been told what. Times are Unix seconds.

    Args:
        state: What `state` gave, to go on from.
        begin_after: Without one: events up to this id are history nobody is told any more.
    """

    def __init__(self, state: Mapping[str, Any] | None = None, *, begin_after: int = 0) -> None:
        saved: Mapping[str, Any] = state or {"read_id": begin_after, "places": []}
        self.read_id = int(saved["read_id"])
        """The latest event taken."""
        self._places = {Address(**found["address"]): _Place(**found["place"]) for found in saved["places"]}
        self._sending: set[Address] = set()

    @classmethod
    def begin(cls, history: store.Store) -> Outbox:
        """The outbox of a machine that never told anybody anything: what has happened so far stays untold."""
        read_id = 0
        while events := history.events(after_id=read_id, limit=READ_EVENTS_MAX):
            read_id = events[-1].id
        return cls(begin_after=read_id)

    def take(self, event: store.HistoryEvent, names: Iterable[str]) -> None:
        """An event, and the names of the targets it is for; a target that is not named any more is forgotten."""
        self.read_id = max(self.read_id, event.id)
        wanted = {Address(service=event.service, environment=event.environment, name=name) for name in names}
        for address in [found for found in self._places if _same_place(found, event) and found not in wanted]:
            self.forget(address)
        for address in wanted:
            place = self._places.setdefault(address, _Place(told_id=event.id - 1, last_id=event.id))
            place.last_id = max(place.last_id, event.id)

    def due(self, now: float) -> list[tuple[Address, int]]:
        """Who has to be told something now, and the event after which."""
        return [
            (address, place.told_id)
            for address, place in sorted(self._places.items())
            if place.last_id > place.told_id and place.retry_at <= now and address not in self._sending
        ]

    def dropped(self, address: Address) -> int:
        """Events given up that the next message has to confess."""
        return self._places[address].dropped

    def sending(self, address: Address) -> None:
        """A message is on its way."""
        self._sending.add(address)

    def sent(self, address: Address, up_to_id: int, *, confessed: int = 0) -> None:
        """The target has been told everything up to an event."""
        self._sending.discard(address)
        place = self._places.get(address)
        if place is not None:
            place.told_id = max(place.told_id, up_to_id)
            place.failures, place.retry_at, place.reason = 0, 0.0, ""
            place.dropped -= confessed

    def failed(self, address: Address, now: float, reason: str) -> int:
        """The target did not take a message; returns how many times in a row."""
        self._sending.discard(address)
        place = self._places.get(address)
        if place is None:
            return 0
        place.failures += 1
        place.retry_at = now + min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2.0 ** min(place.failures - 1, 30))
        place.reason = reason
        return place.failures

    def give_up(self, address: Address, up_to_id: int, count: int) -> None:
        """The oldest `count` events, up to this one, are not tried again."""
        place = self._places.get(address)
        if place is not None:
            place.told_id = max(place.told_id, up_to_id)
            place.dropped += count

    def forget(self, address: Address) -> None:
        """The target is gone."""
        self._places.pop(address, None)
        self._sending.discard(address)

    def troubles(self) -> list[dict[str, Any]]:
        """Targets that fail, for people, without their URLs."""
        return [
            {
                **dataclasses.asdict(address),
                "failures": place.failures,
                "reason": place.reason,
                "dropped": place.dropped,
            }
            for address, place in sorted(self._places.items())
            if place.failures or place.dropped
        ]

    def state(self) -> dict[str, Any]:
        """A JSON document to go on from."""
        return {
            "read_id": self.read_id,
            "places": [
                {"address": dataclasses.asdict(address), "place": dataclasses.asdict(place)}
                for address, place in sorted(self._places.items())
            ],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shipment:
    address: Address
    up_to_id: int
    newest_at: float
    count: int
    confessed: int
    future: concurrent.futures.Future[None]


class Notifier:
    """
    Sends what the outbox says is due, without waiting.

    Args:
        port: Who sends.
        history: Where events are read.
        outbox: Who has been told what; its state is the caller's to keep, after every turn that says so.
        targets: See Targets.
        variables: The environment, for references such as $SLACK_URL.
        threads: Where sending happens; its size bounds how many targets are told at once.
    """

    def __init__(
        self,
        *,
        port: notify.Notify,
        history: store.Store,
        outbox: Outbox,
        targets: Targets,
        variables: Mapping[str, str],
        threads: concurrent.futures.Executor,
    ) -> None:
        self._port = port
        self._history = history
        self._outbox = outbox
        self._targets = targets
        self._variables = variables
        self._threads = threads
        self._shipments: list[_Shipment] = []

    def turn(self, now: float) -> bool:
        """Takes what came of messages on their way, reads on, sends what is due. True when the state has changed."""
        come = [found for found in self._shipments if found.future.done()]
        for shipment in come:
            self._shipments.remove(shipment)
            self._settle(shipment, now)
        events = self._history.events(after_id=self._outbox.read_id, limit=READ_EVENTS_MAX)
        for event in events:
            self._outbox.take(event, self._targets(event.service, event.environment))
        for address, after_id in self._outbox.due(now):
            self._ship(address, after_id)
        return bool(come or events)

    def _ship(self, address: Address, after_id: int) -> None:
        reference = self._targets(address.service, address.environment).get(address.name)
        if reference is None:
            self._outbox.forget(address)
            return
        events = self._history.events(
            service=address.service, environment=address.environment, after_id=after_id, limit=MESSAGE_EVENTS_MAX
        )
        if not events:  # somebody cut the history
            self._outbox.sent(address, self._outbox.read_id)
            return
        confessed = self._outbox.dropped(address)
        self._outbox.sending(address)
        self._shipments.append(
            _Shipment(
                address=address,
                up_to_id=events[-1].id,
                newest_at=events[-1].at,
                count=len(events),
                confessed=confessed,
                future=self._threads.submit(self._send, address.name, reference, *message(events, dropped=confessed)),
            )
        )

    def _send(self, name: str, reference: str, title: str, body: str) -> None:
        url = env_references.resolve({f"notify.{name}": reference}, self._variables)[f"notify.{name}"]
        self._port.send(url, title, body)

    def _settle(self, shipment: _Shipment, now: float) -> None:
        try:
            shipment.future.result()
        except errors.SoftlaunchError as error:
            failures = self._outbox.failed(shipment.address, now, str(error))
            given_up = now - shipment.newest_at >= GIVE_UP_SECONDS
            if given_up:
                self._outbox.give_up(shipment.address, shipment.up_to_id, shipment.count)
            if failures == 1 or given_up:  # not every quarter of an hour
                LOG.warning(
                    "notification_given_up" if given_up else "notification_failed",
                    code=error.code.value,
                    reason=str(error),
                    **dataclasses.asdict(shipment.address),
                )
        else:
            self._outbox.sent(shipment.address, shipment.up_to_id, confessed=shipment.confessed)


def message(events: Sequence[store.HistoryEvent], *, dropped: int = 0) -> tuple[str, str]:
    """
    Title and body that tell some events of one place, oldest first.

    Args:
        events: At least one.
        dropped: So many before them could not be told.
    """
    latest = events[-1]
    number = f" (rollout {latest.rollout_id})" if latest.rollout_id is not None else ""
    more = f", {len(events) - 1} before it" if len(events) > 1 else ""
    title = f"{latest.service} in {latest.environment}: {latest.kind.replace('_', ' ')}{number}{more}"
    lines = [f"{dropped} earlier events could not be told: see `softlaunch history`."] if dropped else []
    for event in events:
        at = datetime.datetime.fromtimestamp(event.at, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines.append(f"{at}  {event.kind.replace('_', ' ')}: {event.text}")
    return title, "\n".join(lines)


def _same_place(address: Address, event: store.HistoryEvent) -> bool:
    return (address.service, address.environment) == (event.service, event.environment)
