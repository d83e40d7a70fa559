"""
Whatever queued during the last model call is the next batch.

No timer: an idle model is called at once, a busy one gets everything that waits (up to batch_rows_max) in one call. The
model runs in a thread of its own; everything else here happens on the event loop's thread, so there are no locks.

To hand a call over to that thread and back costs 0.1 ms, several times what a small compiled model takes. So where a
model allows it (model.calls_anywhere) a call that is expected to take less than BRIEF_SECONDS, by the number of rows
and the CPU time of earlier ones, is made on the event loop. Nothing else ever holds the loop up.

Rules:
    * At most queue_rows_max rows wait; a request that would exceed it is shed (Overloaded), never queued.
    * A request whose client left before its batch began is dropped. Clients are watched only once a call takes longer
      than WATCH_SECONDS: a watcher costs more than a fast model's answer.
    * A batch that raises, or whose answer has the wrong shape, is run again request by request, so that one poisoned
      row fails its own request only.
    * Only rows that are invalid make their request invalid.
    * A request whose deadline has passed when its batch begins is not called, and said to be Expired.
    * Where the model tells what rows cost, a batch is of similar ones: see queues.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from softlaunch.core import answers, predictions, release
from softlaunch.serving import model_thread, queues
from softlaunch.serving.runtimes import model

WATCH_SECONDS = 0.02
"""A guess: far above a compiled model's call, far below the try timeouts after which clients leave."""
BRIEF_SECONDS = 0.0003
"""What the event loop may be held up for; a hundred rows of a forest of fifty trees take less. See decision 0013."""


class Answered(NamedTuple):
    """Columns of the whole batch; the request's rows are start to stop. (A NamedTuple: one for every request.)"""

    columns: Mapping[str, list[Any]]
    start: int
    stop: int
    cpu_us: int = 0
    """The request's share, by rows, of the CPU time of the call."""


class Invalid(NamedTuple):
    """The model answered, but a row of this request may not leave."""

    row: int
    """Counted within the request."""
    output: str
    message: str
    cpu_us: int = 0


class Failed(NamedTuple):
    """The model raised on this request alone."""

    message: str
    cpu_us: int = 0


class Expired(NamedTuple):
    """Its deadline passed before its rows were called."""

    cpu_us: int | None = None


Outcome: TypeAlias = Answered | Invalid | Failed | Expired


class Overloaded(Exception):  # noqa: N818  # an outcome callers branch on, not a fault
    """The queue is full; the request was not accepted."""


class TooManyRows(Exception):  # noqa: N818  # as Overloaded
    """More rows than the queue ever holds."""


class Batcher:
    def __init__(
        self,
        answer: Callable[[Sequence[predictions.Row]], Mapping[str, Any]],
        outputs: Sequence[release.Column],
        *,
        thread: model_thread.ModelThread,
        batch_rows_max: int,
        queue_rows_max: int,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
        cost: model.Cost | None = None,
        calls_anywhere: bool = False,
    ) -> None:
        """
        Must be made on the event loop that submits.

        Args:
            answer: The model's call; runs on `thread` only.
            outputs: What every answer is checked against.
            batch_rows_max: Rows of one call; a larger request is cut.
            queue_rows_max: Rows that may wait.
            cpu_clock: Nanoseconds of CPU time that calls have taken so far; asked on `thread`.
            cost: About what a row costs; None: all the same.
            calls_anywhere: As of model.calls_anywhere; brief calls are then made on the event loop.
        """
        self._answer = answer
        self._cpu_clock = cpu_clock
        self._outputs = outputs
        self._batch_rows_max = batch_rows_max
        self._queue_rows_max = queue_rows_max
        self._loop = asyncio.get_running_loop()
        self._waiting = queues.by(cost)
        self._waiting_rows = 0
        self._busy = False
        self._slow = False
        self._timer: asyncio.TimerHandle | None = None
        self._thread = thread
        self._called_at = 0.0
        self._call_seconds = 0.0
        self._calls_anywhere = calls_anywhere and cost is None
        self._brief_rows_max = 0
        """So many rows make a brief call, as far as is known."""

    @property
    def waiting_rows(self) -> int:
        return self._waiting_rows

    @property
    def queue_rows_max(self) -> int:
        return self._queue_rows_max

    @property
    def retry_seconds(self) -> int:
        """When what waits now will have been answered, judged by the last call; between 1 and 30."""
        calls = self._waiting_rows / self._batch_rows_max
        return max(1, min(30, math.ceil(calls * self._call_seconds)))

    def submit(
        self,
        rows: Sequence[predictions.Row],
        disconnected: Callable[[], Awaitable[None]] | None = None,
        deadline: float = math.inf,
    ) -> asyncio.Future[Outcome]:
        """
        The outcome of these rows, to be awaited; cancelled when the client left before the call.

        Args:
            rows: Checked rows, at least one.
            disconnected: Returns an awaitable that ends when the client has left.
            deadline: Of time.perf_counter; the call must have begun by then.

        Raises:
            Overloaded: queue_rows_max rows would be exceeded.
            TooManyRows: they could not even wait alone.
        """
        count = len(rows)
        if self._waiting_rows + count > self._queue_rows_max:
            if count > self._queue_rows_max:
                raise TooManyRows
            raise Overloaded
        future = self._loop.create_future()
        ticket = queues.Ticket(rows, future, disconnected, deadline)
        self._waiting.put(ticket, self._loop.time())
        self._waiting_rows += count
        if not self._busy:
            # Not at once: requests that arrived in the same turn of the loop join the first batch.
            self._busy = True
            self._loop.call_soon(self._begin)
        elif self._slow:
            self._watch(ticket)
        return future

    def _begin(self) -> None:
        while batch := self._waiting.take(self._batch_rows_max):
            now = time.perf_counter()
            odd = False
            for ticket in batch:
                self._waiting_rows -= len(ticket.rows)
                odd = odd or ticket.deadline < now or ticket.future.done()
            if odd:
                batch = _wanted(batch, now)
            if batch:
                self._called_at = self._loop.time()
                if self._is_brief(batch):
                    self._settle(batch, self._outcomes(batch))
                    # Not in this turn: what came in meanwhile is read first.
                    self._loop.call_soon(self._begin)
                    return
                if self._timer is None:
                    self._timer = self._loop.call_later(WATCH_SECONDS, self._look)
                self._thread.post(self._outcomes, self._finished, batch)
                return
        self._busy = False

    def _is_brief(self, batch: list[queues.Ticket]) -> bool:
        if len(batch) > self._brief_rows_max:
            return False
        return sum(len(ticket.rows) for ticket in batch) <= self._brief_rows_max

    def _finished(self, batch: list[queues.Ticket], outcomes: list[Outcome]) -> None:
        self._settle(batch, outcomes)
        self._begin()

    def _settle(self, batch: list[queues.Ticket], outcomes: list[Outcome]) -> None:
        self._slow = False
        self._call_seconds = self._loop.time() - self._called_at
        self._waiting.told(batch, self._call_seconds)
        for ticket, outcome in zip(batch, outcomes, strict=True):
            if ticket.watcher is not None:
                ticket.watcher.cancel()
            if not ticket.future.done():
                ticket.future.set_result(outcome)

    def _look(self) -> None:
        # One timer for many calls, which looks whether the latest is slow: to set one for each costs a microsecond.
        self._timer = None
        if not self._busy:
            return
        left = self._called_at + WATCH_SECONDS - self._loop.time()
        if left > 0.001:  # the loop's clock is no finer
            self._timer = self._loop.call_later(left, self._look)
        elif not self._slow:
            self._turned_slow()
            self._timer = self._loop.call_later(WATCH_SECONDS, self._look)
        else:
            self._timer = self._loop.call_later(WATCH_SECONDS, self._look)

    def _turned_slow(self) -> None:
        self._slow = True
        for ticket in self._waiting:
            self._watch(ticket)

    def _watch(self, ticket: queues.Ticket) -> None:
        if ticket.disconnected is not None and ticket.watcher is None:
            ticket.watcher = self._loop.create_task(self._drop_when_gone(ticket, ticket.disconnected))

    async def _drop_when_gone(self, ticket: queues.Ticket, disconnected: Callable[[], Awaitable[None]]) -> None:
        await disconnected()
        # One that was taken is the call's, whoever left.
        if not ticket.future.done() and any(each is ticket for each in self._waiting):
            self._waiting_rows -= len(ticket.rows)
            ticket.rows = ()
            ticket.future.cancel()

    def _outcomes(self, batch: list[queues.Ticket]) -> list[Outcome]:
        rows = [row for ticket in batch for row in ticket.rows]
        began_ns = self._cpu_clock()
        try:
            checked = self._checked(rows)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code: anything can come out
            if len(batch) == 1:
                return [Failed(model.one_line(error), (self._cpu_clock() - began_ns) // 1_000)]
            return [outcome for ticket in batch for outcome in self._outcomes([ticket])]
        if checked.shapeless and len(batch) > 1:
            return [outcome for ticket in batch for outcome in self._outcomes([ticket])]
        taken_ns = self._cpu_clock() - began_ns
        row_us = taken_ns / (1_000 * len(rows))
        if self._calls_anywhere:
            self._brief_rows_max = _brief_rows(self._brief_rows_max, len(rows), taken_ns)
        outcomes: list[Outcome] = []
        start = 0
        for ticket in batch:
            stop = start + len(ticket.rows)
            cpu_us = int(row_us * (stop - start))
            if checked.invalid:
                outcomes.append(_outcome(checked, start, stop, cpu_us))
            else:
                outcomes.append(Answered(checked.columns, start, stop, cpu_us))
            start = stop
        return outcomes

    def _checked(self, rows: list[predictions.Row]) -> answers.CheckedAnswer:
        size = self._batch_rows_max
        if len(rows) <= size:
            return answers.check(self._outputs, self._answer(rows), len(rows))
        columns: dict[str, list[Any]] = {column.name: [] for column in self._outputs}
        invalid: dict[int, answers.InvalidRow] = {}
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            checked = answers.check(self._outputs, self._answer(part), len(part))
            if checked.shapeless:
                return dataclasses.replace(
                    checked, invalid={start + row: found for row, found in checked.invalid.items()}
                )
            invalid.update({start + row: found for row, found in checked.invalid.items()})
            for name, values in checked.columns.items():
                columns[name].extend(values)
        return answers.CheckedAnswer(columns=columns, invalid=invalid)


def _brief_rows(known: int, row_count: int, taken_ns: int) -> int:
    """How many rows make a brief call, now that so many took so long: time grows with rows, at most in proportion."""
    brief_ns = BRIEF_SECONDS * 1e9
    if taken_ns > brief_ns:
        return min(known, row_count // 2)
    return max(known, int(row_count * brief_ns / max(1, taken_ns)))


def _wanted(batch: list[queues.Ticket], now: float) -> list[queues.Ticket]:
    """Without those whose client has left or whose deadline has passed, who are told."""
    for ticket in batch:
        if ticket.deadline < now and not ticket.future.done():
            ticket.future.set_result(Expired())
            if ticket.watcher is not None:
                ticket.watcher.cancel()
    return [ticket for ticket in batch if not ticket.future.done()]


def _outcome(checked: answers.CheckedAnswer, start: int, stop: int, cpu_us: int) -> Outcome:
    first = min((row for row in checked.invalid if start <= row < stop), default=None)
    if first is not None:
        found = checked.invalid[first]
        return Invalid(first - start, found.output, found.message, cpu_us)
    return Answered(checked.columns, start, stop, cpu_us)
