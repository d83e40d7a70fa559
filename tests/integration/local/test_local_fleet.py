"""What only a fleet of real processes can promise: kills, adoption, recycled pids, last words."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import msgspec
import psutil
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import local_stages

from softlaunch import errors
from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import launch, process, records

CONTROL_PLANE = pathlib.Path(__file__).parent / "control_plane.py"


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="slt-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fleet(directory: pathlib.Path) -> Iterator[local_fleet.LocalFleet]:
    made = local_stages.local_fleet(directory)
    yield made
    made.stop_all(grace_seconds=1.0)
    made.close()


def reopened(directory: pathlib.Path) -> local_fleet.LocalFleet:
    """The fleet of the next control plane."""
    return local_stages.local_fleet(directory)


def alive(pid: int) -> bool:
    return process.environment_value(pid, launch.FLEET_VARIABLE) is not None  # a zombie has no environment


def processes_of(directory: pathlib.Path) -> list[int]:
    return [
        pid
        for pid in process.holders(launch.FLEET_VARIABLE, str(directory / "run"))
        if process.find_leader(process.environment_value(pid, process.TOKEN_VARIABLE) or "-") is not None
    ]


def test_starting_returns_at_once_however_long_the_preparation_takes(directory: pathlib.Path) -> None:
    go_on = threading.Event()

    def slow(_: object) -> launch.Launch:
        go_on.wait(local_stages.WAIT_SECONDS)
        raise errors.UnavailableError("gone", remedy="", code=errors.Code.INTERNAL)

    fleet = local_stages.local_fleet(directory, slow)
    before = time.monotonic()
    fleet.start(local_stages.spec())

    assert time.monotonic() - before < 0.5
    assert local_stages.observed(fleet).phase == "starting"
    go_on.set()
    local_stages.wait_for_phase(fleet, "failed")
    fleet.stop_all()
    fleet.close()


def test_one_release_is_never_prepared_twice_at_the_same_time(directory: pathlib.Path) -> None:
    inside, overlaps = threading.Lock(), []

    def launcher(_: object) -> launch.Launch:
        overlaps.append(not inside.acquire(blocking=False))
        time.sleep(0.02)
        inside.release()
        raise RuntimeError("enough")

    fleet = local_stages.local_fleet(directory, launcher)
    for number in range(5):
        fleet.start(local_stages.spec(number))
    local_stages.wait_for_phase(fleet, "failed", replica_count=5)
    fleet.close()

    assert overlaps == [False] * 5


def test_a_replica_that_dies_at_the_start_is_failed_with_its_last_words(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec(mode="die"))
    local_stages.wait_for_phase(fleet, "failed")

    detail = local_stages.observed(fleet).detail

    assert "exit code 3" in detail
    assert "it is a teapot" in detail


def test_last_words_are_those_of_the_last_life(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec(mode="die"))
    local_stages.wait_for_phase(fleet, "failed")
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")
    os.kill(local_stages.observed(fleet).pid, signal.SIGKILL)
    local_stages.wait_for_phase(fleet, "failed")

    assert "teapot" not in local_stages.observed(fleet).detail


def test_an_exit_is_known_within_a_tenth_of_a_second(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")
    delays = []
    for _ in range(5):
        before = time.monotonic()
        os.kill(local_stages.observed(fleet).pid, signal.SIGKILL)
        local_stages.wait_for_phase(fleet, "failed")
        delays.append(time.monotonic() - before)
        fleet.start(local_stages.spec())
        local_stages.wait_for_phase(fleet, "ready")

    assert min(delays) < 0.1  # the smallest: the machine may be busy, a poll of a quarter second would still show


def test_a_deaf_replica_is_killed_after_the_grace(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec(mode="deaf"))
    local_stages.wait_for_phase(fleet, "ready")
    pid = local_stages.observed(fleet).pid
    before = time.monotonic()
    fleet.stop(local_stages.spec().name, grace_seconds=0.3)
    local_stages.wait_for(lambda: not psutil.pid_exists(pid))

    assert time.monotonic() - before >= 0.3


def test_stopping_leaves_no_socket_record_zombie_or_child(
    fleet: local_fleet.LocalFleet, directory: pathlib.Path
) -> None:
    fleet.start(local_stages.spec(mode="worker"))
    local_stages.wait_for_phase(fleet, "ready")
    pids = [local_stages.observed(fleet).pid, int((directory / "worker.pid").read_text())]
    fleet.stop_all(grace_seconds=5.0)

    assert list((directory / "run").glob("*.sock")) == []
    assert list((directory / "run" / "replicas").iterdir()) == []
    local_stages.wait_for(lambda: not any(alive(pid) for pid in pids))
    assert not psutil.pid_exists(pids[0])


def test_a_dead_replica_s_children_do_not_outlive_it(fleet: local_fleet.LocalFleet, directory: pathlib.Path) -> None:
    fleet.start(local_stages.spec(mode="worker"))
    local_stages.wait_for_phase(fleet, "ready")
    worker = int((directory / "worker.pid").read_text())
    os.kill(local_stages.observed(fleet).pid, signal.SIGKILL)
    local_stages.wait_for_phase(fleet, "failed")

    local_stages.wait_for(lambda: not alive(worker))


def test_a_replica_sees_what_it_was_given_and_no_credentials(
    fleet: local_fleet.LocalFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    fleet.start(local_stages.spec(mode="deaf"))
    local_stages.wait_for_phase(fleet, "ready")
    pid = local_stages.observed(fleet).pid

    assert process.environment_value(pid, "AWS_SECRET_ACCESS_KEY") is None
    assert process.environment_value(pid, "MODE") == "deaf"
    assert process.environment_value(pid, "PATH") == os.environ["PATH"]


def test_a_socket_another_server_answers_on_is_not_ready(
    fleet: local_fleet.LocalFleet, directory: pathlib.Path
) -> None:
    fleet.start(local_stages.spec(mode="silent"))
    local_stages.wait_for(lambda: local_stages.observed(fleet).pid)
    socket = local_stages.observed(fleet).socket
    impostor = subprocess.Popen(
        [directory / "python", "-m", "softlaunch.serving", "--socket", socket, "--instance", "other"],
        env={"SOFTLAUNCH_INSTANCE": "other"},
    )
    local_stages.wait_for(lambda: "another server" in local_stages.observed(fleet).detail)

    assert local_stages.observed(fleet).phase == "starting"
    impostor.kill()
    impostor.wait()


def test_replicas_survive_the_fleet_and_the_next_one_adopts_them(directory: pathlib.Path) -> None:
    first = local_stages.local_fleet(directory)
    first.start(local_stages.spec(0))
    first.start(local_stages.spec(1))
    local_stages.wait_for_phase(first, "ready", replica_count=2)
    before = first.observe()
    first.close()
    second = reopened(directory)

    assert set(second.observe()) == set(before)  # at the first look, READY included
    second.stop_all(grace_seconds=5.0)
    second.close()


def test_replicas_of_a_killed_control_plane_go_on_and_are_adopted(directory: pathlib.Path) -> None:
    with KilledControlPlane(directory, 2) as plane:
        assert plane.stdout is not None
        plane.stdout.readline()
        pids = json.loads(plane.stdout.readline())
        plane.kill()
    fleet = reopened(directory)

    assert {status.name: status.pid for status in fleet.observe()} == pids
    assert {status.phase for status in fleet.observe()} == {"ready"}
    os.kill(local_stages.observed(fleet, 0).pid, signal.SIGKILL)
    local_stages.wait_for(lambda: local_stages.observed(fleet, 0).phase == "failed")
    fleet.stop_all(grace_seconds=5.0)
    fleet.close()
    assert processes_of(directory) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_control_plane_killed_while_it_starts_replicas_neither_loses_nor_doubles_one(
    directory: pathlib.Path, seed: int
) -> None:
    with KilledControlPlane(directory, 4) as plane:
        local_stages.wait_for((directory / "run" / "replicas").exists)
        time.sleep(random.Random(seed).uniform(0.0, 0.03))
        plane.kill()
    fleet = reopened(directory)
    adopted = {status.pid for status in fleet.observe()}

    assert sorted(adopted) == processes_of(directory)
    for number in range(4):
        fleet.start(local_stages.spec(number))
    local_stages.wait_for_phase(fleet, "ready", replica_count=4)
    assert adopted <= {status.pid for status in fleet.observe()}
    assert len(processes_of(directory)) == 4
    assert fleet.orphans() == ()
    fleet.stop_all(grace_seconds=5.0)
    fleet.close()


def test_a_process_spawned_just_before_the_kill_is_found_by_its_token(directory: pathlib.Path) -> None:
    first = local_stages.local_fleet(directory)
    first.start(local_stages.spec())
    local_stages.wait_for_phase(first, "ready")
    before = local_stages.observed(first)
    first.close()
    rewrite_record(directory, stage=records.Stage.INTENDED, pid=0, started=0.0, boot="")  # as it was before spawning
    second = reopened(directory)

    assert local_stages.observed(second) == before
    second.stop_all(grace_seconds=5.0)
    second.close()


def test_an_intent_without_a_process_is_dropped(directory: pathlib.Path) -> None:
    (directory / "run" / "replicas").mkdir(parents=True, mode=0o700)
    intent = records.Record(name="a/b/c/0", token="never-started", stage=records.Stage.INTENDED, socket="/s", log="/l")
    records.Records(directory / "run" / "replicas").save(intent)
    fleet = reopened(directory)

    assert fleet.observe() == ()
    assert list((directory / "run" / "replicas").iterdir()) == []
    fleet.close()


def test_a_process_whose_record_was_removed_is_ended(directory: pathlib.Path) -> None:
    first = local_stages.local_fleet(directory)
    first.start(local_stages.spec())
    local_stages.wait_for_phase(first, "ready")
    pid = local_stages.observed(first).pid
    first.close()
    shutil.rmtree(directory / "run" / "replicas")
    second = reopened(directory)

    assert second.observe() == ()
    local_stages.wait_for(lambda: not alive(pid))
    assert second.orphans() == ()
    second.close()


@pytest.fixture
def stranger() -> Iterator[process.Identity]:
    """A process that is none of the fleet's."""
    with subprocess.Popen(["sleep", "60"], env={**os.environ, process.TOKEN_VARIABLE: "own"}) as sleeper:
        local_stages.wait_for(lambda: process.identify(sleeper.pid, "own"))
        identity = process.identify(sleeper.pid, "own")
        assert identity is not None
        yield identity
        assert sleeper.poll() is None  # nobody ended it
        sleeper.kill()


@pytest.mark.parametrize("differs", [{"token": "other"}, {"started": 1.0}, {"boot": "another"}])
def test_a_process_is_recognised_by_everything_together(stranger: process.Identity, differs: dict[str, object]) -> None:
    recycled = dataclasses.replace(stranger, **differs)

    assert process.is_alive(stranger)
    assert not process.is_alive(recycled)
    assert not process.send(recycled, signal.SIGKILL)


def test_a_stranger_under_a_recycled_pid_is_neither_adopted_nor_killed(
    directory: pathlib.Path, stranger: process.Identity
) -> None:
    (directory / "run" / "replicas").mkdir(parents=True, mode=0o700)
    recycled = records.Record(
        name=local_stages.spec().name,
        token="of-the-dead",
        stage=records.Stage.RUNNING,
        socket=str(directory / "run" / "x.sock"),
        log=str(directory / "x.log"),
        pid=stranger.pid,
        started=stranger.started,
        boot=stranger.boot,
    )
    records.Records(directory / "run" / "replicas").save(recycled)
    fleet = reopened(directory)
    phase = local_stages.observed(fleet).phase
    fleet.stop_all(grace_seconds=0.0)
    fleet.close()

    assert phase == "failed"
    assert process.is_alive(stranger)


def test_an_unfinished_stop_is_finished_by_the_next_control_plane(directory: pathlib.Path) -> None:
    first = local_stages.local_fleet(directory)
    first.start(local_stages.spec(mode="deaf"))
    local_stages.wait_for_phase(first, "ready")
    pid = local_stages.observed(first).pid
    first.stop(local_stages.spec().name, grace_seconds=0.5)
    first.close()
    second = reopened(directory)

    assert second.observe() == ()
    assert second.stopping() == {local_stages.spec().name}
    local_stages.wait_for(lambda: not second.stopping())
    assert not alive(pid)
    second.close()


def test_a_failure_is_remembered_over_a_restart(directory: pathlib.Path) -> None:
    first = local_stages.local_fleet(directory)
    first.start(local_stages.spec(mode="die"))
    local_stages.wait_for_phase(first, "failed")
    before = first.observe()
    first.close()
    second = reopened(directory)

    assert second.observe() == before
    second.stop_all()
    second.close()


def test_a_torn_record_is_dropped(directory: pathlib.Path) -> None:
    (directory / "run" / "replicas").mkdir(parents=True, mode=0o700)
    (directory / "run").chmod(0o700)
    (directory / "run" / "replicas" / "x.json").write_text('{"name": "fli')
    fleet = reopened(directory)

    assert fleet.observe() == ()
    fleet.close()


def test_without_a_record_nothing_is_started(fleet: local_fleet.LocalFleet, directory: pathlib.Path) -> None:
    (directory / "run" / "replicas").rmdir()  # stands for a full disk, and works for root too

    with pytest.raises(errors.UnavailableError, match="was not started"):
        fleet.start(local_stages.spec())

    assert fleet.observe() == ()


def test_observing_costs_little(fleet: local_fleet.LocalFleet) -> None:
    for number in range(4):
        fleet.start(local_stages.spec(number))
    local_stages.wait_for_phase(fleet, "ready", replica_count=4)
    before = time.thread_time()
    for _ in range(1000):
        fleet.observe()

    assert (time.thread_time() - before) / 1000 < 0.001


class KilledControlPlane:
    def __init__(self, directory: pathlib.Path, count: int) -> None:
        self._arguments = [sys.executable, str(CONTROL_PLANE), str(directory), str(count)]

    def __enter__(self) -> subprocess.Popen[str]:
        self._plane = subprocess.Popen(self._arguments, stdout=subprocess.PIPE, text=True)
        return self._plane

    def __exit__(self, *_: object) -> None:
        self._plane.kill()
        self._plane.wait()
        assert self._plane.stdout is not None
        self._plane.stdout.close()


def rewrite_record(directory: pathlib.Path, **changes: object) -> records.Record:
    """Returns the record as it was."""
    path = next((directory / "run" / "replicas").glob("*.json"))
    record = msgspec.json.decode(path.read_bytes(), type=records.Record)
    path.write_bytes(msgspec.json.encode(dataclasses.replace(record, **changes)))
    return record
