"""
The sender of a load test: a process of its own, started by load_process.

It reads its job from the descriptor it is given, writes one JSON line every so often and a last one with the result to
standard output, and ends when its standard input does: whoever started it is gone then.

Open loop: when a request starts was fixed before the first one was sent. Each replica has its own connections, kept
open, and its own queue: what finds no free connection waits there, which is part of its latency, and is dropped when
it has waited for as long as an answer may take. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import uvloop

from softlaunch.core import verify_specs
from softlaunch.core.load import schedule, tally, verdict
from softlaunch.testing import http_answers, http_connection

PROGRESS_SECONDS = 0.5
_SWEEP_SECONDS = 0.02
_BURST = 32
"""Requests in a row before answers are read: behind its plan the sender must still see them."""
_START_SECONDS = 0.05
"""Between planning and the first request."""


class Sender:
    """
    One load test. Made, run once.

    Args:
        sockets: Unix sockets, asked in turn.
        requests: Whole HTTP/1.1 requests, sent in turn.
        offsets: When, in seconds from the start, ascending.
        late_seconds: From when on a request is late.
        connection_count_max: Of all sockets together.
        timeout_seconds: For waiting for a connection, and for the answer.
    """

    def __init__(
        self,
        sockets: Sequence[str],
        requests: Sequence[bytes],
        offsets: Sequence[float],
        *,
        late_seconds: float,
        connection_count_max: int,
        timeout_seconds: float,
    ) -> None:
        self._requests = requests
        self._offsets = offsets
        self.tally = tally.Tally(planned=len(offsets), late_seconds=late_seconds)
        each = max(1, connection_count_max // len(sockets))
        self._pools = [_Pool(path, self.tally, each, timeout_seconds) for path in sockets]
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """Since the first request was due."""
        return max(0.0, time.monotonic() - self._began) if self._began else 0.0

    async def run(self) -> Mapping[str, Any]:
        """Sends everything, waits for the last answer or its timeout; what came of it."""
        self._began = began = time.monotonic() + _START_SECONDS
        cpu_began = time.process_time()
        sweeping = asyncio.create_task(self._sweep())
        for number, offset in enumerate(self._offsets):
            intended = began + offset
            left = intended - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            elif number % _BURST == 0:
                await asyncio.sleep(0)
            raw = self._requests[number % len(self._requests)]
            self._pools[number % len(self._pools)].due(intended, raw)
        while any(pool.busy for pool in self._pools):  # noqa: ASYNC110 - no event: the sweep looks as often
            await asyncio.sleep(_SWEEP_SECONDS)
        sweeping.cancel()
        seconds = self.seconds
        for pool in self._pools:
            pool.close()
        cpu_percent = 100 * (time.process_time() - cpu_began) / seconds
        return {**self.tally.document(), "seconds": round(seconds, 3), "cpu_percent": round(cpu_percent, 1)}

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for pool in self._pools:
                pool.expire(now)


class _Pool:
    """The connections to one replica, and who waits for them."""

    def __init__(self, path: str, counts: tally.Tally, connection_count_max: int, timeout_seconds: float) -> None:
        self._path = path
        self._tally = counts
        self._count_max = connection_count_max
        self._timeout = timeout_seconds
        self._idle: list[http_connection.Connection] = []
        self._in_flight: dict[http_connection.Connection, tuple[float, float]] = {}
        """By connection: when its request was intended to start, and when it did."""
        self._waiting: collections.deque[tuple[float, float, bytes]] = collections.deque()
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        return bool(self._in_flight or self._waiting)

    def due(self, intended: float, raw: bytes) -> None:
        lag = self._tally.due(intended=intended, now=time.monotonic())
        if self._idle:
            self._send(self._idle.pop(), intended, lag, raw)
            return
        self._waiting.append((intended, lag, raw))
        self._connect_more()

    def answered(
        self, connection: http_connection.Connection, intended: float, answer: http_answers.Answer, *, reusable: bool
    ) -> None:
        """See http_connection.Owner.answered."""
        _, started = self._in_flight.pop(connection)
        self._tally.ended(intended=intended, started=started, now=time.monotonic(), error=_trouble(answer))
        if not reusable:
            connection.close()
            self._connect_more()
        else:
            self._free(connection)

    def lost(self, connection: http_connection.Connection, detail: str, *, awaiting: bool) -> None:
        """See http_connection.Owner.lost."""
        flying = self._in_flight.pop(connection, None)
        if flying is not None and awaiting:
            intended, started = flying
            self._tally.ended(intended=intended, started=started, now=time.monotonic(), error=f"no answer: {detail}")
        if connection in self._idle:
            self._idle.remove(connection)
        self._connect_more()

    def expire(self, now: float) -> None:
        """Gives up what has waited for too long, for a connection or for an answer."""
        while self._waiting and self._waiting[0][0] + self._timeout < now:
            self._waiting.popleft()
            self._tally.dropped()
        for connection in [found for found in self._in_flight if found.deadline < now]:
            connection.give_up("timeout")

    def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for connection in self._idle:
            connection.close()

    def _free(self, connection: http_connection.Connection) -> None:
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: http_connection.Connection, intended: float, lag: float, raw: bytes) -> None:
        now = time.monotonic()
        self._tally.started(intended=intended, lag_seconds=lag, now=now)
        self._in_flight[connection] = intended, now
        connection.send(intended, raw, deadline=now + self._timeout)

    def _connect_more(self) -> None:
        open_count = len(self._idle) + len(self._in_flight) + len(self._connecting)
        if len(self._connecting) < len(self._waiting) and open_count < self._count_max:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        def made() -> http_connection.Connection:
            return http_connection.Connection(self)

        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await asyncio.get_running_loop().create_unix_connection(made, self._path)
        except OSError as error:
            if self._waiting:  # the one this connection was for
                intended, lag, _ = self._waiting.popleft()
                now = time.monotonic()
                self._tally.started(intended=intended, lag_seconds=lag, now=now)
                self._tally.ended(
                    intended=intended, started=now, now=now, error=f"no connection: {type(error).__name__}"
                )
        else:
            self._free(connection)
        self._connecting.discard(asyncio.current_task())
        self._connect_more()


def _trouble(answer: http_answers.Answer) -> str:
    """What is wrong with an answer; empty: nothing."""
    if answer.status != 200:
        return f"status {answer.status}"
    return "invalid answer" if "x-softlaunch-invalid" in answer.headers else ""


def encoded(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: replica", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


def sender(job: Mapping[str, Any]) -> Sender:
    """The sender of a job as load_process wrote it."""
    wanted = verify_specs.LoadSpec(**{**job["load"], "arrivals": verify_specs.Arrivals(job["load"]["arrivals"])})
    return Sender(
        job["sockets"],
        [
            encoded(each["path"], each["headers"], base64.b64decode(each["body"], validate=True))
            for each in job["requests"]
        ],
        schedule.offsets(wanted.arrivals, rate=wanted.rate, duration_seconds=wanted.duration_seconds, seed=job["seed"]),
        late_seconds=verdict.late_seconds(wanted),
        connection_count_max=verdict.connection_count_max(wanted, timeout_seconds=job["timeout_seconds"]),
        timeout_seconds=job["timeout_seconds"],
    )


def main(descriptor: int) -> None:
    """Runs the job that can be read from the descriptor."""
    threading.Thread(target=_leash, daemon=True).start()
    with os.fdopen(descriptor, "rb") as file:
        work = sender(json.load(file))
    # Collecting garbage stops everything for milliseconds, and no cycles are made here that would need it.
    gc.freeze()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_telling(work))
    _write({"result": result})


async def _telling(work: Sender) -> Mapping[str, Any]:
    async def tell() -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            _write({"seconds": round(work.seconds, 2), "p99_ms": work.tally.quantile_ms(0.99)})

    telling = asyncio.create_task(tell())
    try:
        return await work.run()
    finally:
        telling.cancel()


def _write(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _leash() -> None:
    """Ends the process when standard input ends: the other end of the pipe is gone, if only by kill -9."""
    # Not sys.stdin: the interpreter waits for its lock when it ends.
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
