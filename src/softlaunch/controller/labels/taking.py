"""
Labels from where they wait into their table.

A push is in the table whole or not at all, and is removed from the inbox after that. Killed in between, it is met
again: the table knows its name, and it is not added twice.
"""

from __future__ import annotations

import structlog

from softlaunch import errors
from softlaunch.ports import labels as ports

LOG = structlog.get_logger()
LABELS_MAX = 400_000
"""In one commit."""
PUSHES_MAX = 2_000


class Taking:
    """
    One at a time for a home, as the shipper (wiring holds its lock).

    Args:
        inbox: Where they wait.
        labels: The tables.
        every_seconds: Pushes that nobody waits for are taken together so often.
    """

    def __init__(self, *, inbox: ports.Inbox, labels: ports.Labels, every_seconds: float) -> None:
        self._inbox = inbox
        self._labels = labels
        self._every_seconds = every_seconds
        self._again_at: dict[str, float] = {}

    def turn(self, now: float, *, drain: bool = False) -> int:
        """
        Takes what is due; labels added.

        Args:
            now: Unix seconds.
            drain: Everything is due.

        Raises:
            UnavailableError: with `drain`: a table cannot be written; the other services' labels were taken.
        """
        count = 0
        refused: errors.UnavailableError | None = None
        for service, waiting in self._inbox.waiting().items():
            if not drain and now < self._again_at.get(service, now):
                continue
            if drain or any(each.urgent or now - each.since >= self._every_seconds for each in waiting):
                try:
                    count += self._take(service, waiting)
                except errors.UnavailableError as error:
                    LOG.warning("labels_not_taken", service=service, detail=str(error))
                    refused = error
                    self._again_at[service] = now + self._every_seconds
        if drain and refused is not None:
            raise refused
        return count

    def _take(self, service: str, waiting: list[ports.Waiting]) -> int:
        count = 0
        batch: list[ports.Push] = []
        for each in waiting:
            push = self._inbox.read(service, each.name)
            if push is None:
                continue
            if batch and (len(batch) >= PUSHES_MAX or _size(batch) + len(push.labels) > LABELS_MAX):
                count += self._add(service, batch)
                batch = []
            batch.append(push)
        return count + (self._add(service, batch) if batch else 0)

    def _add(self, service: str, batch: list[ports.Push]) -> int:
        added = self._labels.append(service, batch)
        self._inbox.drop(service, {push.name for push in batch})
        return added


def _size(batch: list[ports.Push]) -> int:
    return sum(len(push.labels) for push in batch)
