"""What every ports.fleet.Fleet promises, asked of the one in memory and of the one with real processes."""

from __future__ import annotations

import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Protocol

import psutil
import pytest

from softlaunch import errors
from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import launch
from softlaunch.core import release
from softlaunch.ports import fleet
from softlaunch.testing import fleet as testing_fleet

SERVER = pathlib.Path(__file__).parent.parent / "integration" / "local" / "script_server.py"
GOOD = release.Digest("sha256:" + "a1" * 32)
BROKEN = release.Digest("sha256:" + "b2" * 32)
"""Its preparation fails."""
WAIT_SECONDS = 20.0


class Stage(Protocol):
    """A fleet, and what a test may do to its replicas from outside."""

    fleet: fleet.Fleet

    def crash(self, status: fleet.ReplicaStatus) -> None: ...

    def runs(self, pid: int) -> bool: ...


class InMemoryStage:
    def __init__(self) -> None:
        self.fleet = testing_fleet.InMemoryFleet()
        self.fleet.refuse(BROKEN, "no such model")

    def crash(self, status: fleet.ReplicaStatus) -> None:
        self.fleet.crash(status.name)

    def runs(self, pid: int) -> bool:
        return any(status.pid == pid and status.phase != "failed" for status in self.fleet.observe())


class LocalStage:
    def __init__(self, directory: pathlib.Path) -> None:
        self._python = directory / "python"
        self._python.write_text(f'#!/bin/sh\nexec {sys.executable} {SERVER} "$@"\n')
        self._python.chmod(0o755)
        self.fleet = local_fleet.LocalFleet(
            run_dir=directory / "run", logs_dir=directory / "logs", launcher=self._launch
        )
        self._directory = directory

    def _launch(self, spec: fleet.ReplicaSpec) -> launch.Launch:
        if spec.release == BROKEN:
            raise errors.UnavailableError(
                "There is no such model.", remedy="Build it.", code=errors.Code.RELEASE_UNREADABLE
            )
        return launch.Launch(python=self._python, release_directory=self._directory)

    def crash(self, status: fleet.ReplicaStatus) -> None:
        psutil.Process(status.pid).kill()

    def runs(self, pid: int) -> bool:
        return psutil.pid_exists(pid)


@pytest.fixture(params=["in-memory", "local"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "in-memory":
        yield InMemoryStage()
        return
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slt-", dir="/tmp"))
    local = LocalStage(directory)
    yield local
    local.fleet.stop_all(grace_seconds=1.0)
    local.fleet.close()
    shutil.rmtree(directory)


def spec(number: int = 0, digest: release.Digest = GOOD, environment: str = "production") -> fleet.ReplicaSpec:
    return fleet.ReplicaSpec(
        name=f"flights/{environment}/{digest.short}/{number}",
        service="flights",
        environment=environment,
        release=digest,
        number=number,
    )


def status_of(stage: Stage, name: str) -> fleet.ReplicaStatus | None:
    return next((status for status in stage.fleet.observe() if status.name == name), None)


def wait_for(stage: Stage, name: str, phase: fleet.ReplicaPhase) -> fleet.ReplicaStatus:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < give_up_at:
        status = status_of(stage, name)
        if status is not None and status.phase is phase:
            return status
        time.sleep(0.005)
    raise AssertionError(f"{name} did not become {phase}: {status_of(stage, name)}")


def test_an_empty_fleet_has_no_replicas(stage: Stage) -> None:
    assert tuple(stage.fleet.observe()) == ()


def test_a_started_replica_is_listed_at_once_and_becomes_ready(stage: Stage) -> None:
    stage.fleet.start(spec())

    assert status_of(stage, spec().name) is not None
    ready = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)
    assert stage.runs(ready.pid)


def test_the_socket_s_name_starts_with_the_release_and_its_path_is_short(stage: Stage) -> None:
    stage.fleet.start(spec(number=7))

    status = status_of(stage, spec(number=7).name)

    assert status is not None
    assert pathlib.PurePath(status.socket).name.startswith(GOOD.short)
    assert len(status.socket) < 100


def test_each_replica_has_a_socket_of_its_own(stage: Stage) -> None:
    for wanted in (spec(0), spec(1), spec(0, environment="staging")):
        stage.fleet.start(wanted)

    assert len({status.socket for status in stage.fleet.observe()}) == 3


def test_starting_a_running_replica_again_leaves_it_alone(stage: Stage) -> None:
    stage.fleet.start(spec())
    before = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)
    stage.fleet.start(spec())

    assert [before] == list(stage.fleet.observe())


def test_a_replica_that_ends_by_itself_is_failed_and_stays_so(stage: Stage) -> None:
    stage.fleet.start(spec())
    stage.crash(wait_for(stage, spec().name, fleet.ReplicaPhase.READY))

    failed = wait_for(stage, spec().name, fleet.ReplicaPhase.FAILED)

    assert "SIGKILL" in failed.detail
    assert not stage.runs(failed.pid)


def test_a_failed_replica_starts_anew_when_asked(stage: Stage) -> None:
    stage.fleet.start(spec())
    before = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)
    stage.crash(before)
    wait_for(stage, spec().name, fleet.ReplicaPhase.FAILED)
    stage.fleet.start(spec())

    after = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)

    assert before.pid != after.pid
    assert after.detail == ""


def test_a_replica_that_cannot_be_started_is_failed_with_the_reason(stage: Stage) -> None:
    stage.fleet.start(spec(digest=BROKEN))

    assert "no such model" in wait_for(stage, spec(digest=BROKEN).name, fleet.ReplicaPhase.FAILED).detail


def test_a_replica_asked_to_stop_is_not_counted_on_any_more(stage: Stage) -> None:
    stage.fleet.start(spec(0))
    stage.fleet.start(spec(1))
    wait_for(stage, spec(0).name, fleet.ReplicaPhase.READY)
    stage.fleet.stop(spec(0).name)

    assert [spec(1).name] == [status.name for status in stage.fleet.observe()]


def test_a_stopped_replica_s_process_ends(stage: Stage) -> None:
    stage.fleet.start(spec())
    ready = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)
    stage.fleet.stop(spec().name, grace_seconds=1.0)
    give_up_at = time.monotonic() + WAIT_SECONDS
    while stage.runs(ready.pid) and time.monotonic() < give_up_at:
        time.sleep(0.005)

    assert not stage.runs(ready.pid)


def test_a_replica_may_be_started_again_while_it_still_stops(stage: Stage) -> None:
    stage.fleet.start(spec())
    before = wait_for(stage, spec().name, fleet.ReplicaPhase.READY)
    stage.fleet.stop(spec().name)
    stage.fleet.start(spec())

    assert before.pid != wait_for(stage, spec().name, fleet.ReplicaPhase.READY).pid


def test_stopping_a_failed_replica_forgets_it(stage: Stage) -> None:
    stage.fleet.start(spec(digest=BROKEN))
    wait_for(stage, spec(digest=BROKEN).name, fleet.ReplicaPhase.FAILED)
    stage.fleet.stop(spec(digest=BROKEN).name)

    assert tuple(stage.fleet.observe()) == ()


def test_stopping_what_does_not_exist_does_nothing(stage: Stage) -> None:
    stage.fleet.stop("flights/production/000000000000/0")
    stage.fleet.stop("flights/production/000000000000/0")

    assert tuple(stage.fleet.observe()) == ()


def test_a_replica_stopped_before_it_was_ready_never_becomes_ready(stage: Stage) -> None:
    stage.fleet.start(spec())
    stage.fleet.stop(spec().name, grace_seconds=0.0)

    assert status_of(stage, spec().name) is None


def test_a_replica_asked_to_stop_is_stopping_until_its_process_has_ended(stage: Stage) -> None:
    stage.fleet.start(spec(0))
    stage.fleet.start(spec(1))
    ready = wait_for(stage, spec(0).name, fleet.ReplicaPhase.READY)
    assert frozenset() == stage.fleet.stopping()
    stage.fleet.stop(spec(0).name, grace_seconds=1.0)
    give_up_at = time.monotonic() + WAIT_SECONDS
    while stage.fleet.stopping() and time.monotonic() < give_up_at:
        assert stage.fleet.stopping() == {spec(0).name}
        time.sleep(0.005)

    assert frozenset() == stage.fleet.stopping()
    assert not stage.runs(ready.pid)


def test_a_failed_replica_that_is_stopped_has_nothing_left_to_end(stage: Stage) -> None:
    stage.fleet.start(spec(digest=BROKEN))
    wait_for(stage, spec(digest=BROKEN).name, fleet.ReplicaPhase.FAILED)
    stage.fleet.stop(spec(digest=BROKEN).name)

    assert frozenset() == stage.fleet.stopping()
