"""What the tests of the local fleet share: replicas that are scripts, and waiting."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable

from softlaunch.adapters.local import fleet, launch
from softlaunch.core import release
from softlaunch.ports import fleet as fleet_port

SERVER = pathlib.Path(__file__).parent / "script_server.py"
DIGEST = release.Digest("sha256:" + "a1" * 32)
WAIT_SECONDS = 20.0


def spec(number: int = 0, *, mode: str = "") -> fleet_port.ReplicaSpec:
    return fleet_port.ReplicaSpec(
        name=f"flights/production/{DIGEST.short}/{number}",
        service="flights",
        environment="production",
        release=DIGEST,
        number=number,
        env={"MODE": mode},
    )


def local_fleet(directory: pathlib.Path, launcher: launch.Launcher | None = None) -> fleet.LocalFleet:
    python = directory / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S {SERVER} "$@"\n')
        python.chmod(0o755)

    def start_at_once(_: fleet_port.ReplicaSpec) -> launch.Launch:
        return launch.Launch(python=python, release_directory=directory)

    return fleet.LocalFleet(run_dir=directory / "run", logs_dir=directory / "logs", launcher=launcher or start_at_once)


def wait_for(look: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not look():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.005)


def observed(fleet: fleet_port.Fleet, number: int = 0) -> fleet_port.ReplicaStatus:
    return next(status for status in fleet.observe() if status.name == spec(number).name)


def wait_for_phase(fleet: fleet_port.Fleet, phase: str, *, replica_count: int = 1) -> None:
    wait_for(lambda: [phase] * replica_count == [status.phase for status in fleet.observe()])
