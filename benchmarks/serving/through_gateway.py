"""
What the gateway costs: single-row requests a second through it, capture on, against FastAPI with no gateway at all; and
what it adds to the median at light load, against straight to the model server's socket.

The same model, rows and client (h2load) as rivals.py, whose environments it uses. Every process may use every core, the
client's too: FastAPI + uvicorn is one process, ours are two. Rounds alternate, the order within a round as well.

    python benchmarks/serving/through_gateway.py --cache DIRECTORY --out benchmarks/results/serving_gateway.json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import rivals
import rivals_client
import rivals_models
import rivals_servers

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "launches"))

import record  # benchmarks/launches

from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.local import clock
from softlaunch.core import release
from softlaunch.core.rollout import traffic
from softlaunch.ports import gateway

MODEL = "logistic regression"
RATIO_MIN = 2.0
ADDED_MS_MAX = 0.3
LIGHT_RATES = (rivals_client.LIGHT_RATE, 500.0)
"""At the first one every process sleeps between two requests, and to wake one more takes its time."""


def variants(connections: int) -> tuple[rivals_servers.Variant, rivals_servers.Variant]:
    """Ours, and plain FastAPI with pydantic, uvicorn on uvloop and a Unix socket: its best setting for this load."""
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    ours = {"capture": True, "protocol": "rows", "cores": cores}
    theirs = {"handler": "async", "loop": "uvloop", "uds": True, "cores": cores}
    return (
        rivals_servers.Variant(rival="softlaunch", engine="onnx", settings=ours, connections=connections),
        rivals_servers.Variant(rival="fastapi", engine="onnx", settings=theirs, connections=connections),
    )


@contextlib.contextmanager
def behind_gateway(running: rivals_servers.Running) -> Iterator[rivals_servers.Running]:
    """The same server, asked at the port of a gateway before it that knows it as stable, without a rollout."""
    with tempfile.TemporaryDirectory(prefix="slw-") as name:
        place = pathlib.Path(name)
        front = envoy_gateway.EnvoyGateway(
            directory=place / "gateway",
            run_directory=place,
            log=place / "envoy.log",
            timekeeper=clock.SystemClock(),
        )
        digest = release.Digest("sha256:" + "a" * 64)
        replica = traffic.Replica(release=digest, number=0, socket=str(running.socket))
        arm = traffic.ArmRoute(release=digest, replicas=(replica,))
        route = traffic.RouteSpec(service="bench", environment="production", epoch=1, stable=arm)
        port = _free_port()
        listener = traffic.Listener(environment="production", port=port)
        front.start()
        try:
            front.apply(traffic.RoutingSnapshot(listeners=(listener,), routes=(route,)))
            yield dataclasses.replace(running, socket=None, port=port)
            logged = front.read_attempts(gateway.LogCursor())
            if not logged.attempts or logged.gap:
                raise RuntimeError(f"The attempt log says {logged.gap or 'nothing'}.")
        finally:
            front.stop(drain_seconds=0.0)


def measure(options: argparse.Namespace, model: rivals_models.Model) -> dict[str, Any]:
    """Both questions, round by round."""
    ours, theirs = variants(options.connections)
    rounds: list[dict[str, Any]] = []
    with (
        rivals.served(ours, model, options.cache) as (direct, _, _),
        rivals.served(theirs, model, options.cache) as (fastapi, _, _),
        behind_gateway(direct) as front,
    ):
        rivals_client.check_answers(front, model)
        for number in range(options.rounds):
            sides = [("gateway", front), ("fastapi", fastapi)]
            rates = {name: _rate(options, side, model, number) for name, side in sides[:: 1 if number % 2 else -1]}
            near = [("gateway", front), ("direct", direct)]
            medians = {
                (name, rate): _median_ms(side, model, options.light_seconds, rate)
                for rate in LIGHT_RATES
                for name, side in near[:: 1 if number % 2 else -1]
            }
            rounds.append(
                {
                    "gateway_per_second": rates["gateway"],
                    "fastapi_per_second": rates["fastapi"],
                    "ratio": rates["gateway"] / rates["fastapi"],
                    **{f"{name}_p50_ms_at_{rate:.0f}": found for (name, rate), found in medians.items()},
                    **{
                        f"added_p50_ms_at_{rate:.0f}": medians["gateway", rate] - medians["direct", rate]
                        for rate in LIGHT_RATES
                    },
                }
            )
            record.say(" ".join(f"{name}={value:,.3f}" for name, value in rounds[-1].items()))
        captured = _bytes_below(pathlib.Path(str(direct.socket)).parent / "spool")
    if not captured:
        raise RuntimeError("Nothing was captured.")
    middle = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return {
        "model": MODEL,
        "connections": options.connections,
        "light_rates": LIGHT_RATES,
        "captured_bytes": captured,
        "median": middle,
        "bars": {"ratio_min": RATIO_MIN, "added_p50_ms_max": ADDED_MS_MAX},
        "met": {
            "ratio": middle["ratio"] >= RATIO_MIN,
            **{(name := f"added_p50_ms_at_{rate:.0f}"): middle[name] <= ADDED_MS_MAX for rate in LIGHT_RATES},
        },
        "rounds": rounds,
    }


def _median_ms(running: rivals_servers.Running, model: rivals_models.Model, seconds: float, rate: float) -> float:
    return statistics.median(rivals_client.light_latency(running, model, seconds=seconds, rate=rate))


def _rate(
    options: argparse.Namespace, running: rivals_servers.Running, model: rivals_models.Model, number: int
) -> float:
    told = rivals_client.throughput(
        running,
        model.rows[number % len(model.rows)],
        connections=options.connections,
        warm_up_seconds=options.warm_up,
        seconds=options.seconds,
        cores=running.variant.settings["cores"],
    )
    if told.failed:
        raise RuntimeError(f"{running.variant.key}: {told.failed} requests failed")
    return told.per_second


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bytes_below(directory: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: servers are stopped
    parser = record.parser(__doc__)
    default = pathlib.Path.home() / ".cache" / "softlaunch-rivals"
    parser.add_argument("--cache", type=pathlib.Path, default=default, help="environments and models (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of load before it (%(default)s)")
    parser.add_argument("--light-seconds", type=float, default=10.0, help="of light load, each round (%(default)s)")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    rivals_client.check_tools()
    rivals.prepare(options.cache, ("fastapi",))
    directory = options.cache / "gateway-model"
    shutil.rmtree(directory, ignore_errors=True)
    found = measure(options, rivals_models.make(MODEL, directory))
    del options.cache  # a path of this machine
    record.write(options, found)


if __name__ == "__main__":
    main()
