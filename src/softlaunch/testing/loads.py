"""Load tests and recorded requests in memory: what a candidate does to them is said beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch.core import spool
from softlaunch.core.load import schedule, tally, verdict
from softlaunch.ports import clock as clocks
from softlaunch.ports import loads as port
from softlaunch.ports import sender as senders

Latency = Callable[[float], float]
"""Seconds that an answer takes, by when its request was due, in seconds from the start."""


class MemoryLoads:
    """A ports.loads.Loads whose tests are over when they have begun, in virtual time."""

    def __init__(self) -> None:
        self.latency: Latency = lambda _offset: 0.005
        self.lag: Latency = lambda _offset: 0.0
        """How far the sender is behind its schedule."""
        self.error: Callable[[int], str] = lambda _number: ""
        """What is wrong with the answer to a request, by its number."""
        self.jobs: list[port.Job] = []

    def start(self, job: port.Job) -> MemoryRun:
        """See ports.loads.Loads.start."""
        self.jobs.append(job)
        wanted = job.load
        offsets = schedule.offsets(
            wanted.arrivals, rate=wanted.rate, duration_seconds=wanted.duration_seconds, seed=job.seed
        )
        counts = tally.Tally(planned=len(offsets), late_seconds=verdict.late_seconds(wanted))
        for number, offset in enumerate(offsets):
            lag = counts.due(intended=offset, now=offset + self.lag(offset))
            started = offset + lag
            counts.started(intended=offset, lag_seconds=lag, now=started)
            ended = started + self.latency(offset)
            counts.ended(intended=offset, started=started, now=ended, error=self.error(number))
        return MemoryRun({**counts.document(), "seconds": wanted.duration_seconds, "cpu_percent": 1.0})


class MemoryRun:
    """See ports.loads.Run."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def progress(self) -> Mapping[str, Any]:
        """See ports.loads.Run.progress."""
        return {}

    def result(self) -> Mapping[str, Any] | None:
        """See ports.loads.Run.result."""
        return self._document

    def stop(self) -> None:
        """See ports.loads.Run.stop."""


class MemorySender:
    """A ports.sender.Sender whose answers take 10 ms of virtual time."""

    def __init__(self, clock: clocks.Clock, answer: Callable[[spool.Record], spool.Record | None]) -> None:
        self._clock = clock
        self._answer = answer
        self._waiting: list[tuple[float, senders.Sent]] = []

    def send(self, record: spool.Record) -> None:
        """See ports.sender.Sender.send."""
        sent = senders.Sent(request_id=record.request_id, answer=self._answer(record))
        self._waiting.append((self._clock.now() + 0.01, sent))

    def collect(self) -> Sequence[senders.Sent]:
        """See ports.sender.Sender.collect."""
        now = self._clock.now()
        due = [sent for at, sent in self._waiting if at <= now]
        self._waiting = [each for each in self._waiting if each[0] > now]
        return due


class MemorySenders:
    """A ports.sender.Senders: every release answers as the recorded one did, or as `answer` says."""

    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self.answer: Callable[[spool.Record], spool.Record | None] = lambda record: record
        self.asked: list[str] = []
        """Ids of the requests sent."""

    @contextlib.contextmanager
    def __call__(
        self,
        sockets: Sequence[str],  # noqa: ARG002 - nobody is there
        *,
        release: str,
        timeout_seconds: float,  # noqa: ARG002 - every answer comes
    ) -> Iterator[senders.Sender]:
        """See ports.sender.Senders."""

        def answered(record: spool.Record) -> spool.Record | None:
            self.asked.append(record.request_id)
            found = self.answer(record)
            return found._replace(arm=spool.SHADOW, release=release) if found is not None else None

        yield MemorySender(self._clock, answered)
