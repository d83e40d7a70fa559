"""
The client's side: is it up, are its answers right, how many a second (h2load), how late at light load.

h2load (Debian: nghttp2-client) because it speaks to TCP ports and Unix sockets alike and costs a few microseconds a
request; Python clients are slower than what is measured here. Closed loop: each connection sends its next request when
its last was answered.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
from typing import Any

import httpx
import rivals_models
import rivals_servers

from softlaunch.testing import arrivals, traffic

TOLERANCE = 1e-4
"""Of a probability, against scikit-learn's own: what softlaunch's parity check allows."""
LIGHT_RATE = 50.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    per_second: float
    answered: int
    failed: int
    """Not 2xx, or not answered at all; requests cut off by the end of the run are in neither."""
    server_busy: float
    """CPU seconds of all its processes per second; 1 is a core."""
    client_busy: float


def check_tools() -> None:
    missing = [name for name in ("h2load", "taskset", "git") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"Missing: {', '.join(missing)}. Debian has them in nghttp2-client, util-linux and git.")


def wait_until_up(running: rivals_servers.Running) -> float:
    """Seconds until it was ready."""
    started = time.monotonic()
    path = rivals_servers.ready_path(running.variant)
    while time.monotonic() < started + rivals_servers.START_SECONDS_MAX:
        if running.process.poll() is not None:
            break
        try:
            with _client(running) as client:
                if client.get(path).status_code == 200 and _serves(client, running):
                    return time.monotonic() - started
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{running.variant.key} does not serve:\n{running.log.read_text(errors='replace')[-3000:]}")


def _serves(client: httpx.Client, running: rivals_servers.Running) -> bool:
    """Whether the prediction path is there, too: Ray's proxy is healthy before its routes are."""
    asked = rivals_servers.request(running.variant, (0.0,) * len(rivals_models.FEATURES))
    return client.post(asked.path, content=asked.body, headers=dict(asked.headers)).status_code == 200


def check_answers(running: rivals_servers.Running, model: rivals_models.Model) -> float:
    """
    The largest difference to scikit-learn's probabilities.

    Raises:
        RuntimeError: an answer is no answer, or differs by more than TOLERANCE.
    """
    largest = 0.0
    with _client(running) as client:
        for row, expected in zip(model.rows, model.expected, strict=True):
            asked = rivals_servers.request(running.variant, row)
            answer = client.post(asked.path, content=asked.body, headers=dict(asked.headers))
            if answer.status_code != 200:
                raise RuntimeError(f"{running.variant.key}: {answer.status_code} {answer.text[:500]}")
            largest = max(largest, abs(rivals_servers.probability(running.variant, answer.content) - expected))
    if not largest <= TOLERANCE:
        raise RuntimeError(f"{running.variant.key} answers otherwise than scikit-learn, by {largest}")
    return largest


def throughput(
    running: rivals_servers.Running,
    row: tuple[float, ...],
    *,
    connections: int,
    warm_up_seconds: float,
    seconds: float,
    cores: str,
) -> Throughput:
    """Requests per second of a closed loop that sends one row again and again."""
    asked = rivals_servers.request(running.variant, row)
    with tempfile.TemporaryDirectory(prefix="slb-") as scratch:
        body = pathlib.Path(scratch) / "body"
        body.write_bytes(asked.body)
        headers = [part for name, value in asked.headers for part in ("-H", f"{name}: {value}")]
        base = ["-B", f"unix:{running.socket}"] if running.socket is not None else []
        _h2load(connections, warm_up_seconds, cores, [*headers, *base, "-d", str(body), _url(running, asked.path)])
        before, client_before, began = running.cpu_seconds(), _children_seconds(), time.monotonic()
        told = _h2load(connections, seconds, cores, [*headers, *base, "-d", str(body), _url(running, asked.path)])
        elapsed = time.monotonic() - began
        server, client = running.cpu_seconds() - before, _children_seconds() - client_before
    statuses = [int(found) for found in _found(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", told)]
    failed, errored, timed_out = (
        int(found) for found in _found(r"done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told)
    )
    return Throughput(
        per_second=statuses[0] / seconds,
        answered=statuses[0],
        failed=max(failed, sum(statuses[1:])) + errored + timed_out,
        server_busy=server / elapsed,
        client_busy=client / elapsed,
    )


def light_latency(
    running: rivals_servers.Running, model: rivals_models.Model, *, seconds: float, rate: float = LIGHT_RATE
) -> list[float]:
    """Milliseconds from each planned start to its answer, at so many requests a second, open loop, ascending."""
    asked = [rivals_servers.request(running.variant, row) for row in model.rows]
    requests = [
        traffic.Request(path=each.path, headers=each.headers, body=each.body)
        for each in (asked[number % len(asked)] for number in range(int(rate * seconds)))
    ]
    path = str(running.socket) if running.socket is not None else None
    load = traffic.Load(traffic.Target(port=running.port, socket=path, authority="bench"), requests)
    report = traffic.run(load.run_open(arrivals.poisson(rate, seed=0)))
    if report.failed:
        raise RuntimeError(f"{running.variant.key}: {report.failed} of {report.planned} failed at light load")
    return [latency * 1e3 for latency in report.latencies]


def quantile(ascending: list[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    return ascending[max(math.ceil(share * len(ascending)), 1) - 1]


def _h2load(connections: int, seconds: float, cores: str, arguments: list[str]) -> str:
    command = [
        "taskset",
        "-c",
        cores,
        "h2load",
        "--h1",
        "-t",
        "1",
        "-c",
        str(connections),
        "-D",
        f"{round(seconds * 1_000)}ms",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"h2load: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def _found(pattern: str, text: str) -> tuple[Any, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"h2load said no {pattern!r}:\n{text[-2000:]}")
    return match.groups()


def _children_seconds() -> float:
    found = os.times()
    return found.children_user + found.children_system


def _url(running: rivals_servers.Running, path: str) -> str:
    return f"http://127.0.0.1:{running.port}{path}"


def _client(running: rivals_servers.Running) -> httpx.Client:
    uds = str(running.socket) if running.socket is not None else None
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=uds), base_url=f"http://127.0.0.1:{running.port}", timeout=10.0
    )
