"""
A small HTTP/1.1 load client: sends requests at planned times and says what came of every one of them.

Open loop: each request has an intended start, fixed before anything is sent. Latency counts from that instant, so a
server that stalls is charged for everybody it kept waiting, not only for the one it answered late. Nothing is lost:
`sent + dropped == planned`, and every sent request ends as exactly one outcome. Closed loop, for throughput, sends the
next request when the previous one is answered.

A request is never sent twice, not even on a connection that the server had already closed: what a user would have
seen is what is counted.
"""

from __future__ import annotations

import array
import asyncio
import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

from softlaunch.testing import http_answers, http_connection, outcomes

SWEEP_SECONDS = 0.05
"""How often timeouts are looked for; a timer per request would cost more than the request."""

BURST_COUNT_MAX = 32
"""Requests dispatched in a row before answers are read."""

HEAD_COUNT_MAX = 10_000
"""Encoded request heads kept: enough for the users of a demonstration, and no leak when every header is unique."""

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go: a TCP port, or a Unix socket when `socket` is set."""

    host: str = "127.0.0.1"
    port: int = 80
    socket: str | None = None
    authority: str | None = None
    """The Host header; None: host:port. Virtual hosts need it (flight-delay.localhost)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    method: str = "POST"
    path: str = "/predict"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Load:
    """
    One run against one target. Made, run once, asked for its report.

    Args:
        target: Where to.
        requests: One per planned start; the run ends early when they end.
        check: What counts as the expected answer.
        connection_count_max: Connections, opened when needed and kept open.
        timeout_seconds: For waiting for a connection and for the answer, each.
        clock: Seconds; not the event loop's, which under uvloop stands still within one turn of the loop.
    """

    def __init__(
        self,
        target: Target,
        requests: Iterable[Request],
        *,
        check: outcomes.Check = outcomes.ACCEPT_200,
        connection_count_max: int = 128,
        timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if connection_count_max < 1 or timeout_seconds <= 0:
            raise outcomes.unusable(
                f"{connection_count_max} connections and a timeout of {timeout_seconds} s are no plan."
            )
        self._target = target
        self._requests = iter(requests)
        self._check = check
        self._connection_count_max = connection_count_max
        self._timeout = timeout_seconds
        self._now = clock
        self._authority = target.authority or f"{target.host}:{target.port}"
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        self._idle: list[http_connection.Connection] = []
        self._busy: set[http_connection.Connection] = set()
        self._connecting = 0
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self._planned = self._sent = self._dropped = 0
        self._outcomes = dict.fromkeys(outcomes.Outcome, 0)  # whole from the start: `tally` reads it from other threads
        self._statuses: collections.Counter[int] = collections.Counter()
        self._details: collections.Counter[str] = collections.Counter()
        self._latencies = array.array("d")
        self._lag_max = 0.0
        self._stopped = False
        self._settled_at = 0.0
        self._closed_until: float | None = None
        self._closed_left: int | None = None
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def tally(self) -> outcomes.Tally:
        """Counts up to now; may be asked from another thread."""
        ok = self._outcomes[outcomes.Outcome.OK]
        return outcomes.Tally(planned=self._planned, ok=ok, failed=sum(self._outcomes.values()) - ok + self._dropped)

    def stop(self) -> None:
        """Plan nothing more; what was sent is still awaited. From any thread."""
        self._stopped = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the run ended in this very moment
                loop.call_soon_threadsafe(self._wake.set)

    async def run_open(self, offsets: Iterable[float], *, duration_seconds: float | None = None) -> outcomes.Report:
        """Starts one request at each offset (ascending seconds from now), however long answers take."""
        started = await self._begin()
        for offset in offsets:
            if duration_seconds is not None and offset >= duration_seconds:
                break
            intended = started + offset
            if await self._stopped_before(intended):
                break
            if self._planned % BURST_COUNT_MAX == 0:
                await asyncio.sleep(0)  # behind the plan nothing else waits: answers must still be read
            request = next(self._requests, None)
            if request is None:
                break
            self._planned += 1
            self._dispatch(intended, self._encoded(request), self._now())
        return await self._finish(started)

    async def run_closed(
        self, *, concurrency: int, duration_seconds: float | None = None, count: int | None = None
    ) -> outcomes.Report:
        """Keeps `concurrency` requests in flight; each next one starts when one is answered."""
        if concurrency < 1 or (duration_seconds is None and count is None):
            raise outcomes.unusable(f"A closed loop of {concurrency} needs at least one request and an end.")
        self._connection_count_max = concurrency
        started = await self._begin()
        self._closed_until = started + duration_seconds if duration_seconds is not None else float("inf")
        self._closed_left = count
        for _ in range(concurrency):
            self._next_closed(self._now())
        while not self._stopped and self._now() < self._closed_until and self._in_flight():
            await self._sleep(self._closed_until)
        return await self._finish(started)

    async def _begin(self) -> float:
        if self._loop is not None:
            raise outcomes.unusable("This run was already used.")
        self._loop = asyncio.get_running_loop()
        self._spawn(self._sweep())
        return self._now()

    async def _finish(self, started: float) -> outcomes.Report:
        self._closed_until = None
        self._stopped = True
        while self._in_flight():
            await self._sleep(self._now() + SWEEP_SECONDS)
        seconds = max(self._settled_at - started, 0.0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._idle:
            connection.close()
        return outcomes.Report(
            planned=self._planned,
            sent=self._sent,
            dropped=self._dropped,
            outcomes=dict(self._outcomes),
            statuses=dict(self._statuses),
            details=dict(self._details),
            latencies=tuple(sorted(self._latencies)),
            seconds=seconds,
            lag_seconds_max=self._lag_max,
        )

    def _in_flight(self) -> bool:
        return bool(self._busy or self._waiting)

    async def _stopped_before(self, instant: float) -> bool:
        while not self._stopped and self._now() < instant:
            await self._sleep(instant)
        return self._stopped

    async def _sleep(self, until: float) -> None:
        assert self._loop is not None
        delay = until - self._now()
        if delay <= 0:
            await asyncio.sleep(0)
            return
        self._wake.clear()
        handle = self._loop.call_later(delay, self._wake.set) if delay != float("inf") else None
        await self._wake.wait()
        if handle is not None:
            handle.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _encoded(self, request: Request) -> bytes:
        key = (request.method, request.path, request.headers)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= HEAD_COUNT_MAX:
                self._heads.clear()
            lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {self._authority}"]
            lines += [f"{name}: {value}" for name, value in request.headers]
            head = self._heads[key] = ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")
        return b"%b%d\r\n\r\n%b" % (head, len(request.body), request.body)

    def _dispatch(self, intended: float, raw: bytes, now: float) -> None:
        if self._idle:
            self._lag_max = max(self._lag_max, now - intended)
            self._send(self._idle.pop(), intended, raw, now)
            return
        self._waiting.append((intended, raw))
        if len(self._busy) + self._connecting < self._connection_count_max and self._connecting < len(self._waiting):
            self._connecting += 1
            self._spawn(self._connect())

    def _send(self, connection: http_connection.Connection, intended: float, raw: bytes, now: float) -> None:
        self._sent += 1
        self._busy.add(connection)
        connection.send(intended, raw, deadline=now + self._timeout)

    async def _connect(self) -> None:
        assert self._loop is not None

        def made() -> http_connection.Connection:
            return http_connection.Connection(self)

        try:
            async with asyncio.timeout(self._timeout):
                if self._target.socket is not None:
                    _, connection = await self._loop.create_unix_connection(made, self._target.socket)
                else:
                    _, connection = await self._loop.create_connection(made, self._target.host, self._target.port)
        except OSError as error:
            self._connecting -= 1
            if self._waiting:  # the one this connection was for: a user would have seen it refused
                self._waiting.popleft()
                self._sent += 1
                self._broken(f"connect: {type(error).__name__}")
            self._reconnect()
            return
        self._connecting -= 1
        self._free(connection)

    def _free(self, connection: http_connection.Connection) -> None:
        if self._waiting:
            intended, raw = self._waiting.popleft()
            self._send(connection, intended, raw, self._now())
        else:
            self._idle.append(connection)

    def answered(
        self, connection: http_connection.Connection, intended: float, answer: http_answers.Answer, *, reusable: bool
    ) -> None:
        """Called by a connection with the whole answer to what it sent."""
        now = self._now()
        self._busy.discard(connection)
        self._latencies.append(now - intended)
        self._statuses[answer.status] += 1
        self._outcomes[self._check.outcome(answer)] += 1
        if reusable:
            self._free(connection)
        else:
            connection.close()
        self._next_closed(now)
        self._reconnect()
        self._settled(now)

    def lost(self, connection: http_connection.Connection, detail: str, *, awaiting: bool) -> None:
        """Called by a connection that ended, whether or not it owed an answer."""
        self._busy.discard(connection)
        if not awaiting:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            return
        self._broken(detail)
        self._reconnect()

    def _broken(self, detail: str) -> None:
        self._outcomes[outcomes.Outcome.BROKEN] += 1
        self._details[detail] += 1
        now = self._now()
        self._next_closed(now)
        self._settled(now)

    def _settled(self, now: float) -> None:
        self._settled_at = now
        if self._stopped and not self._in_flight():
            self._wake.set()

    def _reconnect(self) -> None:
        free = self._connection_count_max - len(self._busy) - self._connecting - len(self._idle)
        for _ in range(min(free, len(self._waiting) - self._connecting)):
            self._connecting += 1
            self._spawn(self._connect())

    def _next_closed(self, now: float) -> None:
        if self._closed_until is None or self._stopped:
            return
        if now >= self._closed_until or self._closed_left == 0:
            self._wake.set()
            return
        request = next(self._requests, None)
        if request is None:
            self._closed_left = 0
            self._wake.set()
            return
        if self._closed_left is not None:
            self._closed_left -= 1
        self._planned += 1
        self._dispatch(now, self._encoded(request), now)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._now()
            while self._waiting and self._waiting[0][0] + self._timeout < now:
                self._waiting.popleft()
                self._dropped += 1
                self._next_closed(now)
            for connection in [found for found in self._busy if found.deadline < now]:
                connection.give_up("timeout")
            if not self._in_flight():
                self._wake.set()


class Background:
    """
    A load that runs in a thread of its own while the test or the demonstration does something else.

    Used as a context manager: leaving it stops planning, awaits what was sent and keeps the report.
    """

    def __init__(self, load: Load, offsets: Iterable[float]) -> None:
        self.load = load
        self._offsets = offsets
        self._report: outcomes.Report | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.load.stop()
        self._thread.join()

    @property
    def report(self) -> outcomes.Report:
        """
        What happened; known after the context was left.

        Raises:
            ConfigError: the load still runs.
        """
        if self._error is not None:
            raise self._error
        if self._report is None:
            raise outcomes.unusable("The load still runs.")
        return self._report

    def _run(self) -> None:
        try:
            self._report = run(self.load.run_open(self._offsets))
        except BaseException as error:  # noqa: BLE001 -- raised again by `report`, in the thread that asks
            self._error = error


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs to the end, on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 -- not on every platform
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
