"""
Which waiting requests make the next batch.

Without costs: whoever came first. With costs (of a text, its length): requests are sorted into classes that double in
cost, and a batch is of one class, because a model that pads makes every row as dear as the dearest. The next class is
the one whose oldest request came first, after each has been put back by OVERTAKEN_CALLS times what its own call would
take: cheap ones pass dear ones, but only those that came soon after, so nothing waits for ever. A call takes about
CALL_SECONDS at most, or one request: what comes in meanwhile never waits for a long row of dear ones.
"""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

from softlaunch.core import predictions
from softlaunch.serving.runtimes import model

CALL_SECONDS = 0.02
"""A guess: what a cheap request may wait for a call of dear ones that has begun."""
OVERTAKEN_CALLS = 4.0
"""A guess: a dear request may lose so many times its own call's time to cheaper ones."""
_LEARNING = 0.2
"""Weight of the newest call in what a unit of cost is thought to take."""


class Ticket:
    """One waiting request."""

    __slots__ = ("came_at", "cost", "deadline", "disconnected", "future", "rows", "watcher")

    def __init__(
        self,
        rows: Sequence[predictions.Row],
        future: asyncio.Future[Any],
        disconnected: Callable[[], Awaitable[None]] | None,
        deadline: float,
    ) -> None:
        self.rows = rows
        self.future = future
        self.disconnected = disconnected
        self.deadline = deadline
        self.watcher: asyncio.Task[None] | None = None
        self.came_at = 0.0
        self.cost = 0.0


class Queue(Protocol):
    """Requests in waiting, also those that are done already (the client left)."""

    def put(self, ticket: Ticket, now: float) -> None: ...

    def take(self, rows_max: int) -> list[Ticket]:
        """
        The next batch, at most `rows_max` rows unless the first request alone has more; empty when none waits.

        Requests that are done already come out with it and do not count.
        """
        ...

    def told(self, batch: Sequence[Ticket], seconds: float) -> None:
        """A call with this batch took so long."""
        ...

    def __iter__(self) -> Iterator[Ticket]: ...


class Fifo:
    """See Queue."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Ticket] = collections.deque()

    def put(self, ticket: Ticket, now: float) -> None:  # noqa: ARG002  # an order is all it knows
        self._waiting.append(ticket)

    def take(self, rows_max: int) -> list[Ticket]:
        return _first(self._waiting, rows_max)

    def told(self, batch: Sequence[Ticket], seconds: float) -> None:
        pass

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._waiting)


class ByCost:
    """
    See Queue, and the module.

    Args:
        cost: Of a row, in any unit, about proportional to the time it takes; 0 and less count as 1.
    """

    def __init__(self, cost: model.Cost) -> None:
        self._cost = cost
        self._classes: dict[int, collections.deque[Ticket]] = {}
        self._unit_seconds = 0.0

    def put(self, ticket: Ticket, now: float) -> None:
        costs = [max(1.0, self._cost(row)) for row in ticket.rows]
        ticket.came_at = now
        # Rows of one request are padded to the dearest of them.
        ticket.cost = max(costs) * len(costs)
        self._classes.setdefault(int(math.log2(max(costs))), collections.deque()).append(ticket)

    def take(self, rows_max: int) -> list[Ticket]:
        if self._classes:
            chosen = min(self._classes, key=self._turn)
            waiting = self._classes[chosen]
            cost_max = CALL_SECONDS / self._unit_seconds if self._unit_seconds else math.inf
            batch = _first(waiting, rows_max, cost_max)
            if not waiting:
                del self._classes[chosen]
            return batch
        return []

    def told(self, batch: Sequence[Ticket], seconds: float) -> None:
        found = seconds / sum(ticket.cost for ticket in batch)
        weight = _LEARNING if self._unit_seconds else 1.0
        self._unit_seconds += weight * (found - self._unit_seconds)

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for waiting in self._classes.values() for ticket in waiting)

    def _turn(self, number: int) -> float:
        oldest = self._classes[number][0]
        return oldest.came_at + OVERTAKEN_CALLS * oldest.cost * self._unit_seconds


def by(cost: model.Cost | None) -> Queue:
    """The queue of a model with this cost of a row."""
    return Fifo() if cost is None else ByCost(cost)


def _first(waiting: collections.deque[Ticket], rows_max: int, cost_max: float = math.inf) -> list[Ticket]:
    batch: list[Ticket] = []
    row_count = 0
    cost = 0.0
    while waiting:
        ticket = waiting[0]
        if not ticket.future.done():
            row_count += len(ticket.rows)
            cost += ticket.cost
            if row_count > len(ticket.rows) and (row_count > rows_max or cost > cost_max):
                break
        batch.append(waiting.popleft())
    return batch
