"""Envoy, fault servers and a client, put together the way a rollout is."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import pathlib
import socket
import time
from typing import Any

import gateway_client
import gateway_faults

from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.core import attempts, release
from softlaunch.core.rollout import traffic
from softlaunch.ports import gateway

STABLE = release.Digest("sha256:" + "a" * 64)
CANDIDATE = release.Digest("sha256:" + "b" * 64)
FALLBACK = b'{"late": 0.2}'
TRY_SECONDS = 1.0
"""Long: on a busy machine processes stand still for a while, and that is not what most tests are about."""
SHORT_TRY_SECONDS = 0.15
"""Where something hangs, and everybody would wait."""


class RealClock:
    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bench:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.loop = gateway_faults.Loop()
        self.port = free_port()
        self.stable = [self.server(STABLE, 0), self.server(STABLE, 1)]
        self.candidate = self.server(CANDIDATE, 0)
        self.epoch = 0
        self.cursor = gateway.LogCursor()
        self.gateway = self.another_gateway()

    def server(self, digest: release.Digest, number: int, *, mark: str = "e0") -> gateway_faults.Server:
        return gateway_faults.Server(self.loop, self.directory / f"{digest.short}.{number}.{mark}.sock")

    def another_gateway(self, **options: Any) -> envoy_gateway.EnvoyGateway:
        return envoy_gateway.EnvoyGateway(
            directory=self.directory / "gateway",
            run_directory=self.directory,
            log=self.directory / "envoy.log",
            timekeeper=RealClock(),
            free_bytes_min=0,
            **options,
        )

    def close(self) -> None:
        self.gateway.stop(drain_seconds=0.0)
        for server in [*self.stable, self.candidate]:
            server.kill()
        self.loop.close()

    def fallback_server(self, name: str) -> gateway_faults.Server:
        return gateway_faults.Server(self.loop, self.directory / f"fallback-{name}.sock")

    def route(self, *, weight: int = 5000, rollout: bool = True, **options: Any) -> traffic.RouteSpec:
        self.epoch += 1
        defaults: dict[str, Any] = {
            "service": "flights",
            "environment": "production",
            "epoch": self.epoch,
            "stable": arm(STABLE, *self.stable),
            "candidate": arm(CANDIDATE, self.candidate) if rollout else None,
            "candidate_weight": weight if rollout else 0,
            "salt": f"rollout-{self.epoch}",
            "key_header": "x-user-id",
            "fallback_body": FALLBACK,
            "try_timeout_seconds": TRY_SECONDS,
            "fuse_enabled": False,
        }
        return traffic.RouteSpec(**(defaults | options))

    def snapshot(self, *routes: traffic.RouteSpec) -> traffic.RoutingSnapshot:
        return traffic.RoutingSnapshot(
            listeners=(traffic.Listener(environment="production", port=self.port),), routes=routes
        )

    def apply(self, **options: Any) -> traffic.RouteSpec:
        """A fresh rollout, everybody healthy and forgotten."""
        for server in [*self.stable, self.candidate]:
            server.fault = "ok"
            server.forget()
        route = self.route(**options)
        self.gateway.apply(self.snapshot(route))
        self.attempts()
        return route

    def send(self, count: int, *, connections: int = 32, **request: Any) -> list[gateway_client.Answer]:
        """One request of each of `count` users."""
        requests = [
            gateway_client.Request(**({"headers": (("x-user-id", f"user-{number}"),)} | request))
            for number in range(count)
        ]
        return asyncio.run(gateway_client.send(self.port, requests, connections=connections))

    def attempts(self, *, at_least: int = 0) -> list[attempts.Attempt]:
        """What was logged since the last call; waits until Envoy has flushed. Sets `fallbacks` and `copies` too."""
        found: list[attempts.Attempt] = []
        self.fallbacks: collections.Counter[tuple[str, str]] = collections.Counter()
        self.copies: list[attempts.Attempt] = []
        until = time.monotonic() + 5
        while True:
            time.sleep(0.03)
            batch = self.gateway.read_attempts(self.cursor)
            assert batch.gap is None
            self.cursor = batch.cursor
            found.extend(batch.attempts)
            self.fallbacks.update(batch.fallbacks)
            self.copies.extend(batch.copies)
            if not batch.attempts and (len(found) >= at_least or time.monotonic() > until):
                return found


def arm(digest: release.Digest, *servers: gateway_faults.Server) -> traffic.ArmRoute:
    replicas = tuple(
        traffic.Replica(release=digest, number=number, socket=server.socket) for number, server in enumerate(servers)
    )
    return traffic.ArmRoute(release=digest, replicas=replicas)


def served_by(answers: list[gateway_client.Answer]) -> collections.Counter[str]:
    """How many answers each release gave."""
    return collections.Counter(answer.body.split(b'"')[3].decode() for answer in answers)


def failed(answers: list[gateway_client.Answer]) -> list[gateway_client.Answer]:
    """Failed for the user: not 200, or a fallback, or somebody else's body."""
    return [
        answer
        for answer in answers
        if answer.status != 200
        or "x-softlaunch-fallback" in answer.headers
        or not answer.body.startswith(b'{"release"')
    ]


def with_options(snapshot: traffic.RoutingSnapshot, **options: Any) -> traffic.RoutingSnapshot:
    """The snapshot with options changed in each of its routes."""
    return dataclasses.replace(
        snapshot, routes=tuple(dataclasses.replace(route, **options) for route in snapshot.routes)
    )
