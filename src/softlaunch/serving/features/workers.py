"""
The threads one lookup asks its source on, kept apart from everybody else's.

A source that hangs costs a request its timeout and nothing more. Threads are few and belong to one lookup; when all of
them are stuck in calls whose time is over, or too many calls wait already, the next one is late at once. A thread that
comes back goes on working. Nothing here ever stops the process from ending: the threads are daemons.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from softlaunch.core import lookup_values, lookups
from softlaunch.serving.features import source as sources

THREADS = 16
"""
Of one lookup. A guess: a source that takes 2 ms is then asked 8,000 times a second, and one process looks up some 6,000
a second at most (measured with Redis on its own machine).
"""
WAITING_MAX = 256
"""Calls that wait for a thread; a guess: sixteen for each."""
_TELL_SECONDS = 10.0
"""Between two lines about a lookup that fails."""

Result: TypeAlias = Sequence[lookup_values.Answer] | lookups.ServedAs
"""One answer for each combination asked for; LATE or MISSING when there is none at all."""


class _Job:
    __slots__ = ("deadline", "future", "timer", "wanted")

    def __init__(self, wanted: Sequence[Mapping[str, Any]], deadline: float, future: asyncio.Future[Result]) -> None:
        self.wanted = wanted
        self.deadline = deadline
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


class Workers:
    """
    Must be made on the event loop that uses it.

    Args:
        name: The lookup's.
        source: What is asked.
        server: Its secret: taken out of what is printed.
    """

    def __init__(
        self,
        name: str,
        source: sources.Source,
        *,
        server: str = "",
        threads_max: int = THREADS,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.batch_count_max = source.batch_count_max
        self._name = name
        self._source = source
        self._server = server
        self._threads_max = threads_max
        self._waiting_max = waiting_max
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._running: list[_Job | None] = []
        """What each thread is at; written by it alone."""
        self._unfinished = 0
        self._failed_count = 0
        self._told_at = float("-inf")

    @property
    def thread_count(self) -> int:
        return len(self._running)

    def submit(self, wanted: Sequence[Mapping[str, Any]], seconds: float) -> asyncio.Future[Result]:
        """What the source says; LATE after `seconds`, whatever the source does."""
        future: asyncio.Future[Result] = self._loop.create_future()
        now = time.monotonic()
        if self._unfinished >= len(self._running):
            if len(self._running) < self._threads_max:
                self._start()
            elif self._unfinished - self._threads_max >= self._waiting_max or self._stuck(now):
                future.set_result(lookups.ServedAs.LATE)
                return future
        job = _Job(wanted, now + seconds, future)
        job.timer = self._loop.call_later(seconds, _turn_late, future)
        self._unfinished += 1
        self._jobs.put(job)
        return future

    def close(self) -> None:
        """Ends the threads after what they are at."""
        for _ in self._running:
            self._jobs.put(None)
        self._source.close()

    def _stuck(self, now: float) -> bool:
        return all(job is not None and job.deadline < now for job in self._running)

    def _start(self) -> None:
        number = len(self._running)
        self._running.append(None)
        name = f"softlaunch-features-{self._name}-{number}"
        threading.Thread(target=self._run, args=(number,), name=name, daemon=True).start()

    def _run(self, number: int) -> None:
        while (job := self._jobs.get()) is not None:
            self._running[number] = job
            result = self._result(job)
            self._running[number] = None
            try:
                self._loop.call_soon_threadsafe(self._finish, job, result)
            except RuntimeError:  # the loop has ended: nobody waits any more
                return

    def _result(self, job: _Job) -> Result:
        left = job.deadline - time.monotonic()
        if left <= 0 or job.future.done():
            return lookups.ServedAs.LATE
        try:
            found = self._source.fetch(job.wanted, left)
        except TimeoutError:
            return lookups.ServedAs.LATE
        except (Exception, SystemExit) as error:  # noqa: BLE001  # any client library, or the user's own function
            self._tell(error)
            return lookups.ServedAs.MISSING
        return found

    def _finish(self, job: _Job, result: Result) -> None:
        self._unfinished -= 1
        if job.timer is not None:
            job.timer.cancel()
        if not job.future.done():
            job.future.set_result(result)

    def _tell(self, error: BaseException) -> None:
        """One line, now and then; two threads at once may print two."""
        self._failed_count += 1
        now = time.monotonic()
        if now - self._told_at < _TELL_SECONDS:
            return
        self._told_at = now
        said = sources.scrubbed(f"{type(error).__name__}: {error}", self._server)
        sys.stderr.write(
            f"softlaunch.serving: the lookup {self._name!r} failed, {self._failed_count} times so far: {said}\n"
        )


def _turn_late(future: asyncio.Future[Result]) -> None:
    if not future.done():
        future.set_result(lookups.ServedAs.LATE)
