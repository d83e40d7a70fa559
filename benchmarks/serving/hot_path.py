"""
What the model server's own path costs: a bare granian echo, the server without recording, and with it, side by side.

All three run throughout, on one core, this process on another one, as in rivals.py; short slices alternate, and every
figure is a median of ratios or differences within a round, because machines are noisy and shared. CPU seconds a
request are the steadier figure there; they are told beside the rates. The echo is an RSGI application on the same
uvloop and the same embedded granian that reads the body and sends it back. Closed loop: 64 connections, each sending
its next single-row request when the last was answered, from raw sockets in this process; then, for the p99, an open
loop at a rate far below saturation.

    python benchmarks/serving/hot_path.py --out benchmarks/results/serving_hot_path.json

With --soak, two million requests through a spool of 64 MiB instead, and the server's memory over it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from quick import requests, wait_until_up, write_release

ROOT = pathlib.Path(__file__).parents[2]
CONNECTIONS = 64
NEW_REQUEST_ID_COUNT = 4_096
"""Request bytes made beforehand, each with an id of its own."""
SERVER_CORE, CLIENT_CORE = 0, 1
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

ECHO = """
    import asyncio, pathlib, sys
    import uvloop
    from softlaunch.serving import listener

    HEADERS = [("content-type", "application/json")]

    class Echo:
        in_flight = 0
        last_request_at = 0.0

        async def __rsgi__(self, scope, proto):
            proto.response_bytes(200, HEADERS, await proto())

    async def main():
        await listener.Listener(Echo(), pathlib.Path(sys.argv[1])).serve()

    uvloop.run(main())
"""


@dataclasses.dataclass
class Server:
    name: str
    socket: pathlib.Path
    process: subprocess.Popen[bytes]
    connections: list[socket.socket] = dataclasses.field(default_factory=list)

    def connect(self, count: int) -> None:
        for _ in range(count):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.connect(str(self.socket))
            made.setblocking(False)
            self.connections.append(made)

    def cpu_seconds(self) -> float:
        """Of all of its threads so far."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_mib(self) -> float:
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * PAGE_KIB / 1024


@dataclasses.dataclass(frozen=True)
class Slice:
    """One stretch of load on one server."""

    count: int
    seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds


def closed(server: Server, sent: Sequence[bytes], *, seconds: float = 1e9, count: int = 1 << 62) -> Slice:
    """Every connection sends its next request when the last was answered, until the time or the count is over."""
    poll = select.epoll()
    by_fd = {made.fileno(): made for made in server.connections}
    began_at: dict[int, float] = {}
    latencies: list[float] = []
    number, clock = 0, time.perf_counter
    cpu = server.cpu_seconds()
    began = clock()
    for fd, made in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        began_at[fd] = clock()
        made.send(sent[number % len(sent)])
        number += 1
    ends, left = began + seconds, len(by_fd)
    while left:
        for fd, _ in poll.poll(5):
            made = by_fd[fd]
            check(made.recv(65_536))
            now = clock()
            latencies.append(now - began_at[fd])
            if now < ends and number < count:
                began_at[fd] = now
                made.send(sent[number % len(sent)])
                number += 1
            else:
                left -= 1
    seconds = clock() - began
    poll.close()
    return Slice(number, seconds, server.cpu_seconds() - cpu, latencies)


def opened(server: Server, sent: Sequence[bytes], *, rate: float, seconds: float) -> Slice:
    """Requests at fixed times, whatever the answers do; latencies count from when a request was due."""
    poll = select.epoll()
    by_fd = {made.fileno(): made for made in server.connections}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    idle = collections.deque(by_fd)
    due_at: dict[int, float] = {}
    latencies: list[float] = []
    number, clock = 0, time.perf_counter
    cpu = server.cpu_seconds()
    began = clock()
    count = int(rate * seconds)
    while len(latencies) < count:
        now = clock()
        while number < count and idle and began + number / rate <= now:
            fd = idle.popleft()
            due_at[fd] = began + number / rate
            by_fd[fd].send(sent[number % len(sent)])
            number += 1
        for fd, _ in poll.poll(0):
            check(by_fd[fd].recv(65_536))
            latencies.append(clock() - due_at[fd])
            idle.append(fd)
    seconds = clock() - began
    poll.close()
    return Slice(count, seconds, server.cpu_seconds() - cpu, latencies)


def check(answer: bytes) -> None:
    """Answers of single rows come in one piece over a Unix socket; anything else would be a miscount."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    assert body.endswith(b"}"), answer


@contextlib.contextmanager
def servers(directory: pathlib.Path, *names: str, spool_bytes_max: int = 2**28) -> Iterator[list[Server]]:
    """Started and ready, with connections."""
    write_release(directory)
    (directory / "echo.py").write_text(textwrap.dedent(ECHO))
    started = []
    for name in names:
        path = directory / f"{name}.sock"
        command = [sys.executable, "-m", "softlaunch.serving", "--release", str(directory), "--instance", name]
        command += ["--socket", str(path)]
        if name == "echo":
            command = [sys.executable, str(directory / "echo.py"), str(path)]
        elif name == "capture":
            spool = directory / "spool" / "bench" / "production"
            command += ["--spool", str(spool), "--spool-bytes-max", str(spool_bytes_max)]
        started.append(Server(name, path, subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *command])))
    try:
        for server in started:
            if server.name == "echo":
                wait_for_file(server.socket)
            else:
                wait_until_up(server.socket, "/v2/health/ready")
            server.connect(CONNECTIONS)
        yield started
    finally:
        for server in started:
            server.process.terminate()
        for server in started:
            try:
                server.process.wait(10)
            except subprocess.TimeoutExpired:
                server.process.kill()


def wait_for_file(path: pathlib.Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing serves at {path}")
        time.sleep(0.05)


def identified(directory: pathlib.Path) -> list[bytes]:
    """Requests as the gateway sends them, each with an id of its own."""
    made = requests(directory, recorded=True)
    fixed = b"5f0c9a52-0f1e-4c0e-9d8e-0123456789ab"
    return [
        made[number % len(made)].replace(fixed, b"5f0c9a52-0f1e-4c0e-9d8e-%012x" % number)
        for number in range(NEW_REQUEST_ID_COUNT)
    ]


def compare(chosen: argparse.Namespace) -> dict[str, Any]:
    """The three side by side."""
    with tempfile.TemporaryDirectory(prefix="slb-") as name:
        directory = pathlib.Path(name)
        with servers(directory, "echo", "plain", "capture") as started:
            sent = identified(directory)
            for server in started:
                closed(server, sent, seconds=1.0)
            rounds = [
                {server.name: closed(server, sent, seconds=chosen.seconds) for server in _turned(started, number)}
                for number in range(chosen.rounds)
            ]
            light = [
                {
                    server.name: opened(server, sent, rate=chosen.rate, seconds=chosen.seconds)
                    for server in _turned(started, number)
                }
                for number in range(chosen.rounds)
            ]
    return {"rows": summary(rounds, light), "bars": bars(rounds, light), "rate": chosen.rate}


def _turned(started: list[Server], number: int) -> list[Server]:
    """In another order every round, so that nobody always goes first."""
    place = number % len(started)
    return started[place:] + started[:place]


def summary(rounds: list[dict[str, Slice]], light: list[dict[str, Slice]]) -> list[dict[str, Any]]:
    return [
        {
            "server": name,
            "rate": statistics.median(found[name].rate for found in rounds),
            "cpu_us": statistics.median(_cpu(found[name]) * 1e6 for found in rounds),
            "p50_ms": statistics.median(quantile_ms(found[name], 50) for found in rounds),
            "p99_ms": statistics.median(quantile_ms(found[name], 99) for found in rounds),
            "light_p50_ms": statistics.median(quantile_ms(found[name], 50) for found in light),
            "light_p99_ms": statistics.median(quantile_ms(found[name], 99) for found in light),
        }
        for name in rounds[0]
    ]


def quantile_ms(found: Slice, percent: float) -> float:
    return float(np.percentile(found.latencies, percent)) * 1e3


def bars(rounds: list[dict[str, Slice]], light: list[dict[str, Slice]]) -> dict[str, Any]:
    """What the bars are about, round by round: [least, median, most]."""

    def spread(value: Callable[[dict[str, Slice]], float], among: list[dict[str, Slice]]) -> list[float]:
        found = sorted(map(value, among))
        return [found[0], statistics.median(found), found[-1]]

    return {
        "of_echo": spread(lambda one: one["capture"].rate / one["echo"].rate, rounds),
        "of_echo_cpu": spread(lambda one: _cpu(one["echo"]) / _cpu(one["capture"]), rounds),
        "capture_throughput": spread(lambda one: one["capture"].rate / one["plain"].rate, rounds),
        "capture_cpu": spread(
            lambda one: (
                (one["capture"].cpu_seconds / one["capture"].count) / (one["plain"].cpu_seconds / one["plain"].count)
            ),
            rounds,
        ),
        "capture_p99_ms": spread(lambda one: quantile_ms(one["capture"], 99) - quantile_ms(one["plain"], 99), light),
    }


def _cpu(found: Slice) -> float:
    return found.cpu_seconds / found.count


def soak(chosen: argparse.Namespace) -> dict[str, Any]:
    """Memory over many requests through a spool so small that it goes round many times."""
    samples = []
    with tempfile.TemporaryDirectory(prefix="slb-") as name:
        directory = pathlib.Path(name)
        with servers(directory, "capture", spool_bytes_max=64 * 2**20) as (server,):
            sent = identified(directory)
            closed(server, sent, count=chosen.requests // 20)
            began = time.perf_counter()
            for part in range(20):
                found = closed(server, sent, count=chosen.requests // 20)
                samples.append({"requests": (part + 1) * found.count, "mib": server.resident_mib()})
                print(f"{samples[-1]['requests']:>9,} requests: {samples[-1]['mib']:.1f} MiB", flush=True)
            seconds = time.perf_counter() - began
            spool_mib = sum(path.stat().st_size for path in directory.glob("spool/*/*/*")) / 2**20
    slope = np.polyfit([one["requests"] / 1e6 for one in samples], [one["mib"] for one in samples], 1)[0]
    return {
        "samples": samples,
        "seconds": seconds,
        "spool_mib": spool_mib,
        "mib_per_million": float(slope),
        "grown_mib": samples[-1]["mib"] - samples[0]["mib"],
    }


def about(load_before: float, command: str) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load_before": load_before,
        "command": command,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one slice (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rate", type=float, default=2_000.0, help="of the open loop, per second (%(default)s)")
    parser.add_argument("--soak", action="store_true")
    parser.add_argument("--requests", type=int, default=2_000_000, help="of the soak (%(default)s)")
    parser.add_argument("--out", type=pathlib.Path)
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    load_before = os.getloadavg()[1]
    before: dict[str, Any] = {}
    if chosen.out is not None and chosen.out.exists():
        before = json.loads(chosen.out.read_text())
    if chosen.soak:
        found = {**before, "soak": soak(chosen)}
        print(json.dumps({**found["soak"], "samples": "..."}, indent=1))
    else:
        found = {**before, **compare(chosen)}
        found["about"] = about(load_before, " ".join(["python", "benchmarks/serving/hot_path.py", *sys.argv[1:]]))
        print(json.dumps({name: found[name] for name in ("rows", "bars")}, indent=1))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
