"""
A laboratory: the real control plane, Envoy, model servers and SQLite in a temporary home, and ready made releases.

Only the build is left out: releases are pushed ready made, so that hundreds of launches take minutes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from softlaunch.adapters.archive import files
from softlaunch.adapters.checks import http_checks
from softlaunch.adapters.envoy import gateway
from softlaunch.adapters.local import clock, fleet, launch, prober
from softlaunch.adapters.oci import registry
from softlaunch.adapters.spool import local as local_spool
from softlaunch.adapters.sql import store
from softlaunch.config import home as homes
from softlaunch.controller import commands, loop, runner, shelf, views
from softlaunch.core import release, spec
from softlaunch.ports import fleet as fleet_port
from softlaunch.testing import releases

HERE = pathlib.Path(__file__).parent
SERVICE = releases.SERVICE
ENVIRONMENT = "production"

FAULTS = {
    "503": None,
    "reset": None,
    "invalid": None,
    "422": None,
    "exception": 'raise ValueError("planted")',
    "nan": 'return [{"label": 1, "probability": float("nan")} for _ in rows]',
    "hang": "time.sleep(3.0)",
    "killed": "os.kill(os.getpid(), 9)",
}
"""What a candidate does with live traffic; None: done by faulty/, below the level of a model."""


@dataclasses.dataclass(kw_only=True)
class Lab:
    """What an experiment needs."""

    loop: loop.ControlLoop
    commands: commands.Commands
    store: store.SqlStore
    registry: registry.OciRegistry
    port: int
    directory: pathlib.Path
    faults: dict[release.Digest, str]

    def make(self, name: str, fault: str | None = None, *, source: str = releases.GOOD) -> release.Digest:
        """Pushes a release; another name is another digest."""
        statement = FAULTS[fault] if fault is not None else None
        source = source if statement is None else releases.faulty(statement)
        digest = self.registry.push(releases.write(self.directory / "sources" / name, name=name, source=source))
        if fault is not None and statement is None:
            self.faults[digest] = fault
        return digest

    def deploy(self, digest: release.Digest, environment: spec.EnvironmentSpec, *, timeout: float = 120.0) -> Any:
        """Launches and waits for the end; returns the view."""
        done = self.commands.deploy(
            commands.DeployRequest(
                service=SERVICE, environment=environment, release=digest, ref="lab", commit="0" * 40, by="lab"
            )
        )
        assert done.rollout_id is not None, done.text
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            record = self.store.rollout(done.rollout_id)
            if record is not None and record.finished_at is not None:
                return views.rollout(self.loop, record)
            time.sleep(0.02)
        running = self.loop.ledger.rollouts[SERVICE, ENVIRONMENT]
        raise TimeoutError(json.dumps(views.rollout(self.loop, running), indent=1))


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Everything started; stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="sl-lab-") as name, contextlib.ExitStack() as stack:
        home = homes.Home.locate(name)
        home.prepare()
        found = registry.OciRegistry(home.registry)
        shelves = shelf.Shelf(found, home.releases)
        saved = stack.enter_context(contextlib.closing(store.SqlStore(home.state_file)))
        envoy = gateway.EnvoyGateway(
            directory=home.gateway, run_directory=home.run, log=home.logs / "envoy.log", timekeeper=clock.SystemClock()
        )
        envoy.start()
        stack.callback(envoy.stop)
        faults: dict[release.Digest, str] = {}

        def launcher(wanted: fleet_port.ReplicaSpec) -> launch.Launch:
            directory, _ = shelves.take(wanted.release)
            fault = faults.get(wanted.release)
            extra = {"PYTHONPATH": str(HERE / "faulty"), "FAULT": fault} if fault else {}
            return launch.Launch(python=pathlib.Path(sys.executable), release_directory=directory, env=extra)

        replicas = fleet.LocalFleet(run_dir=home.run, logs_dir=home.logs, launcher=launcher)
        stack.enter_context(contextlib.closing(replicas))
        stack.callback(replicas.stop_all)
        turning = loop.ControlLoop(
            store=saved,
            gateway=envoy,
            fleet=replicas,
            shelf=shelves,
            prober=prober.HttpProber(),
            clock=clock.SystemClock(),
            archive=files.FileArchive(home.evidence),
            checks=stack.enter_context(contextlib.closing(http_checks.HttpChecks())),
            spool=local_spool.LocalSpool(home.spool),
        )
        port = free_port()
        orders = commands.Commands(
            loop=turning, store=saved, registry=found, choose_port=lambda _name, _used: port, variables={}
        )
        turns = runner.Runner(turning, tick_seconds=0.02)
        turns.start()
        stack.callback(turns.stop)
        yield Lab(
            loop=turning,
            commands=orders,
            store=saved,
            registry=found,
            port=port,
            directory=pathlib.Path(name),
            faults=faults,
        )


@contextlib.contextmanager
def load(port: int, rate_per_second: float) -> Iterator[dict[str, Any]]:
    """Steady traffic from a process of its own; its report is in the dictionary afterwards."""
    report: dict[str, Any] = {}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "load.py"), str(port), str(rate_per_second)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield report
    finally:
        out, _ = process.communicate(timeout=60)
        report.update(json.loads(out))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def strategy(around: Mapping[str, Any] | None = None, **changes: Any) -> spec.EnvironmentSpec:
    """
    The environment experiments use, with changes to its strategy.

    Args:
        around: Changes to the environment itself.
        **changes: To its strategy.
    """
    chosen = {
        "kind": spec.StrategyKind.CANARY,
        "steps": spec.shares(1_000, 10_000),
        "key_header": "x-user-id",
        "watch_seconds": 0.0,
        **changes,
    }
    return spec.EnvironmentSpec(
        name=ENVIRONMENT,
        strategy=spec.StrategySpec(**chosen),
        fallback_body=b'{"fallback": true}',
        request_timeout_seconds=1.0,
        **(around or {}),
    )
