"""The local fleet with the real model server in its processes."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import local_stages

from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import launch, prober
from softlaunch.core import release, release_json
from softlaunch.ports import fleet as fleet_port

CONTENT = release.ReleaseContent(
    service="flights",
    runtime=release.Runtime.PYTHON,
    model_file=None,
    python_target="doubler.py:Doubler",
    signature=release.Signature(
        inputs=(release.Column(name="x", datatype=release.Datatype.FP64),),
        outputs=(release.Column(name="y", datatype=release.Datatype.FP64),),
    ),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
)
DOUBLER = """
class Doubler:
    def predict(self, rows):
        return [{"y": 2 * row["x"]} for row in rows]
"""


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="slt-", dir="/tmp"))
    (path / "release" / "code").mkdir(parents=True)
    (path / "release" / "release.json").write_bytes(release_json.dump_content(CONTENT))
    (path / "release" / "code" / "doubler.py").write_text(DOUBLER)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fleet(directory: pathlib.Path) -> Iterator[local_fleet.LocalFleet]:
    made = opened(directory)
    yield made
    made.stop_all(grace_seconds=5.0)
    made.close()


def opened(directory: pathlib.Path) -> local_fleet.LocalFleet:
    def launcher(_: fleet_port.ReplicaSpec) -> launch.Launch:
        return launch.Launch(python=pathlib.Path(sys.executable), release_directory=directory / "release")

    return local_fleet.LocalFleet(run_dir=directory / "run", logs_dir=directory / "logs", launcher=launcher)


def predict(path: str, x: float) -> object:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(path)
    connection.request("POST", "/predict", json.dumps({"x": x}), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["prediction"]


def test_a_model_server_becomes_ready_and_answers(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")

    assert predict(local_stages.observed(fleet).socket, 21.0) == {"y": 42.0}


def test_an_adopted_model_server_answers_and_its_death_is_seen(directory: pathlib.Path) -> None:
    fleet = opened(directory)
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")
    before = local_stages.observed(fleet)
    fleet.close()
    second = opened(directory)

    assert local_stages.observed(second) == before
    assert predict(before.socket, 1.0) == {"y": 2.0}
    os.kill(before.pid, signal.SIGKILL)
    local_stages.wait_for_phase(second, "failed")
    second.stop_all()
    second.close()


def test_a_model_that_cannot_be_loaded_fails_with_the_server_s_own_words(
    fleet: local_fleet.LocalFleet, directory: pathlib.Path
) -> None:
    (directory / "release" / "code" / "doubler.py").write_text("import no_such_package")
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "failed")

    assert "no_such_package" in local_stages.observed(fleet).detail


def test_a_stopped_model_server_drains_and_ends_by_itself(
    fleet: local_fleet.LocalFleet, directory: pathlib.Path
) -> None:
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")
    status = local_stages.observed(fleet)
    fleet.stop(status.name, grace_seconds=60.0)
    local_stages.wait_for(lambda: not list((directory / "run" / "replicas").iterdir()))

    assert not pathlib.Path(status.socket).exists()


def test_smoke_rows_are_counted_and_the_first_failure_is_told(fleet: local_fleet.LocalFleet) -> None:
    fleet.start(local_stages.spec())
    local_stages.wait_for_phase(fleet, "ready")
    rows = [{"x": 1.0}, {"x": "one"}, {"x": 3.0}, {"x": None}]

    report = prober.HttpProber().smoke(local_stages.observed(fleet).socket, rows)

    assert (report.sent, report.failed) == (4, 2)
    assert report.first_failure.startswith("422 ")


def test_smoke_rows_to_nobody_all_fail(directory: pathlib.Path) -> None:
    report = prober.HttpProber().smoke(str(directory / "none.sock"), [{"x": 1.0}])

    assert (report.sent, report.failed) == (1, 1)
    assert report.first_failure.startswith("no answer")
