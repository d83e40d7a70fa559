"""
A closed loop from a process of its own that is cheap enough for thousands of requests a second, and what users saw.

    python benchmarks/launches/hammer.py '{"port": 8080, "count": 100000}'

One connection has one request in flight; nothing is sent twice. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import IO, Annotated, Any, cast

import msgspec
import numpy as np
import uvloop

BODY = b'{"x0":-1.0,"x1":0.25,"x2":0.5}'
ANSWER_SECONDS_MAX = 30.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does."""

    port: int
    count: int = 1 << 62
    """Requests; reading ends the run as well (`stop`)."""
    first: int = 0
    """Number of the first: user and request id are made of it."""
    users: int = 0
    """0: every request is another user's."""
    connections: int = 64
    rate: float = 0.0
    """Requests a second over all connections; 0: as fast as answers come."""
    host: str = "flights.localhost"
    path: str = "/predict"
    paths: tuple[str, ...] = ()
    """When given: the n-th request goes to the n-th of them, in turn."""
    arms: bool = False
    """Report which users each release answered."""
    times: bool = False
    """Report every request: when it was sent (time.perf_counter, the same for all processes) and its seconds."""
    until_stopped: bool = False


class _Prediction(msgspec.Struct):
    label: int
    probability: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class _Answer(msgspec.Struct):
    prediction: _Prediction
    release: str | None = None


_DECODER = msgspec.json.Decoder(_Answer)


class Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.next = plan.first
        self.end = plan.first + plan.count
        self.open = 0
        self.finished = asyncio.Event()
        self.seen: collections.Counter[str] = collections.Counter()
        self.fallbacks: collections.Counter[str] = collections.Counter()
        self.latencies: list[float] = []
        self.times: list[tuple[float, float]] = []
        self.arms: dict[str, list[int]] = collections.defaultdict(list)
        self.stopped = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.unsent: list[tuple[int, bytes]] = []
        """Of connections that ended before it was time."""
        paths = plan.paths or (plan.path,)
        self.heads = [
            f"POST {path} HTTP/1.1\r\nhost: {plan.host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(BODY)}\r\nx-number: %d\r\nx-user-id: u%d\r\n\r\n".encode()
            for path in paths
        ]

    def request(self) -> tuple[int, bytes] | None:
        if self.unsent:
            return self.unsent.pop()
        if self.next >= self.end or self.stopped:
            return None
        number = self.next
        self.next += 1
        user = number % self.plan.users if self.plan.users else number
        return number, self.heads[number % len(self.heads)] % (number, user) + BODY

    def answered(self, number: int, status: int, head: bytes, body: bytes, seconds: float) -> None:
        self.latencies.append(seconds)
        if self.plan.times:
            self.times.append((time.perf_counter() - seconds, seconds))
        if b"\r\nx-softlaunch-fallback: " in head:
            kind = head.split(b"\r\nx-softlaunch-fallback: ", 1)[1].split(b"\r\n", 1)[0].decode()
            self.fallbacks[kind] += 1
            try:
                _DECODER.decode(body)
            except msgspec.DecodeError:
                self.seen["fallback, not valid as a prediction"] += 1
            else:
                self.seen["fallback"] += 1
        elif status != 200:
            self.seen[f"status {status}"] += 1
        else:
            try:
                answer = _DECODER.decode(body)
            except msgspec.DecodeError:
                self.seen["invalid body"] += 1
                return
            self.seen["ok"] += 1
            if self.plan.arms:
                self.arms[answer.release or ""].append(number)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.finished.set()


class Connection(asyncio.Protocol):
    def __init__(self, run: Run, gap: float) -> None:
        self._run = run
        self._gap = gap
        self._buffer = b""
        self._number = -1
        self._began = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._due = time.perf_counter()
        self._send()

    def _send(self) -> None:
        found = self._run.request()
        if found is None:
            self._number = -1
            self._transport.close()
            return
        self._number, raw = found
        if self._gap:
            self._due += self._gap
            late = self._due - time.perf_counter()
            if late > 0:
                self._raw = raw
                self._timer = asyncio.get_running_loop().call_later(late, self._write, raw)
                return
        self._write(raw)

    def _write(self, raw: bytes) -> None:
        self._timer = None
        self._began = time.perf_counter()
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        place = buffer.find(b"content-length: ", 0, end)
        length = int(buffer[place + 16 : buffer.find(b"\r", place)]) if place >= 0 else 0
        if len(buffer) < end + 4 + length:
            return
        number = self._number
        seconds = time.perf_counter() - self._began
        self._buffer = b""
        self._run.answered(number, int(buffer[9:12]), buffer[: end + 2], buffer[end + 4 :], seconds)
        if buffer.find(b"connection: close", 0, end) >= 0:
            self._number = -1
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._timer is not None:
            self._timer.cancel()
            self._run.unsent.append((self._number, self._raw))
        elif self._number >= 0:
            self._run.seen["no answer"] += 1
        self._run.spawn(connect(self._run, self._gap))


async def connect(run: Run, gap: float) -> None:
    """One connection, and another one after it has ended, until there is nothing left to ask."""
    if not run.unsent and (run.next >= run.end or run.stopped):
        run.closed()
        return
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: Connection(run, gap), "127.0.0.1", run.plan.port)
    except OSError:
        run.request()
        run.seen["no connection"] += 1
        run.spawn(connect(run, gap))


async def perform(plan: Plan) -> dict[str, Any]:
    run = Run(plan)
    run.open = plan.connections
    loop = asyncio.get_running_loop()
    if plan.until_stopped:

        def stop() -> None:
            run.stopped = True
            loop.remove_reader(sys.stdin)

        loop.add_reader(sys.stdin, stop)
    began = time.perf_counter()
    gap = plan.connections / plan.rate if plan.rate else 0.0
    for _ in range(plan.connections):
        await connect(run, gap)
        if gap:
            await asyncio.sleep(gap / plan.connections)
    await run.finished.wait()
    seconds = time.perf_counter() - began
    latencies = np.array(run.latencies or [0.0])
    asked = run.seen.total()
    return {
        "asked": asked,
        "failed": asked - run.seen["ok"],
        "seen": dict(run.seen),
        "fallbacks": dict(run.fallbacks),
        "seconds": seconds,
        "p50_ms": float(np.quantile(latencies, 0.5)) * 1e3,
        "p99_ms": float(np.quantile(latencies, 0.99)) * 1e3,
        "max_ms": float(latencies.max()) * 1e3,
        "arms": dict(run.arms),
        "times": run.times,
    }


@dataclasses.dataclass(kw_only=True)
class Hammer:
    """A started load."""

    process: subprocess.Popen[str]
    out: IO[str]
    """A file: a report may be longer than a pipe holds."""

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Nothing more is sent; only for plans that run until they are stopped."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdin = None

    def report(self, *, timeout: float = 3600.0) -> dict[str, Any]:
        self.process.wait(timeout)
        self.out.seek(0)
        with self.out:
            found: dict[str, Any] = json.load(self.out)
        return found


def start(plan: Plan) -> Hammer:
    out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the report
    process = subprocess.Popen(
        [sys.executable, str(pathlib.Path(__file__)), json.dumps(msgspec.to_builtins(plan))],
        stdin=subprocess.PIPE,
        stdout=out,
        text=True,
    )
    return Hammer(process=process, out=out)


@contextlib.contextmanager
def steady(plan: Plan) -> Iterator[dict[str, Any]]:
    """Load while the block runs; its report is in the dictionary afterwards."""
    report: dict[str, Any] = {}
    running = start(msgspec.structs.replace(plan, until_stopped=True))
    try:
        yield report
    finally:
        running.stop()
        report.update(running.report(timeout=ANSWER_SECONDS_MAX + 30.0))


def run(plan: Plan, *, meanwhile: Callable[[], object] | None = None) -> dict[str, Any]:
    """The whole plan; `meanwhile` is called again and again."""
    running = start(plan)
    while running.running and meanwhile is not None:
        meanwhile()
        time.sleep(0.05)
    return running.report()


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    print(json.dumps(uvloop.run(perform(plan))), flush=True)


if __name__ == "__main__":
    main()
