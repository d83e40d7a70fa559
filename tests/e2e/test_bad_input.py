"""Each of these gets one clear error with a remedy, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import lab
import process_lab
import pytest

from softlaunch import errors
from softlaunch.cli import client
from softlaunch.core import release
from softlaunch.testing import releases

ROW = json.dumps(releases.LIVE_ROW).encode()


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_second_up_names_the_process_that_is_up(running: process_lab.ProcessLab) -> None:
    pid = client.read_address(running.home)["pid"]

    second = running.command("up")

    assert (3, "already-up") == (second.code, second.document["code"])
    assert f"process {pid}" in second.document["error"]
    assert process_lab.serves(running.port)


@pytest.mark.parametrize(
    ("payload", "status", "said"),
    [
        (b'{"rows": [' + b'{"x0": 1.0, "x1": 1.0, "x2": 1.0},' * 600_000 + b"]}", 413, "larger than 8 MiB"),
        (b'{"rows": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, ""),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, ""),
        (b"", 400, ""),
        (b"not json", 400, ""),
        (b"\xff\xfe\x00", 400, ""),
        (b"[]", 422, ""),
        (b'{"x0": "high", "x1": 0.5, "x2": 0.1}', 422, "x0"),
        (b'{"x0": [1.0], "x1": 0.5, "x2": 0.1}', 422, "x0"),
        (b'{"x0": 1.0, "x1": 0.5, "x2": 0.1, "x9": 1.0}', 422, "x9"),
        (b'{"rows": [{"x0": 1.0, "x1": 0.5, "x2": 0.1}, {"x0": true, "x1": 0.5, "x2": 0.1}]}', 422, "x0"),
        (b'{"x0": 1.0}', 422, "x1"),
        (b"17", 422, ""),
    ],
    ids=[
        "20 MB", "10,000 lists deep", "10,000 objects deep", "empty", "no JSON", "no UTF-8", "no rows", "text",
        "a list", "unknown feature", "second row wrong", "missing features", "a number",
    ],
)  # fmt: skip
def test_a_bad_request_is_one_4xx_in_json_and_the_service_stays_up(
    running: process_lab.ProcessLab, payload: bytes, status: int, said: str
) -> None:
    answered, body = process_lab.ask(running.port, payload)

    assert status == answered or (status == 422 and answered == 400), body
    assert said in json.loads(body)["error"]
    assert process_lab.serves(running.port)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("DELETE", "/predict", 405), ("POST", "/predictt", 404), ("GET", "/", 404)],
)
def test_a_wrong_path_or_method_is_told_so(
    running: process_lab.ProcessLab, method: str, path: str, status: int
) -> None:
    answered, body = process_lab.ask(running.port, b"", method=method, path=path)

    assert status == answered
    assert json.loads(body)["error"]


def test_a_deploy_that_shall_not_replace_is_refused_while_a_rollout_runs(running: process_lab.ProcessLab) -> None:
    slow = running.make("slow", f"import time\ntime.sleep(2)\n{releases.GOOD}")
    number = running.start(slow, lab.strategy())

    patient = {**process_lab.body(running.make("next"), lab.strategy()), "replace": False}
    refusal = process_lab.refused(lambda: running.client.post("/v1/rollouts", patient))
    running.client.post(f"/v1/services/{lab.SERVICE}/{lab.ENVIRONMENT}/abort", {"by": "test"})

    assert errors.Code.ROLLOUT_RUNS is refusal.code
    assert f"Rollout {number}" in refusal.message
    assert "aborted" == running.finished(number)["outcome"]


def test_what_cannot_be_launched_is_refused_and_changes_nothing(running: process_lab.ProcessLab) -> None:
    before = running.client.get("/v1/status")["services"]
    unknown = release.Digest(f"sha256:{'0' * 64}")

    assert errors.Code.NO_RELEASE is process_lab.refused(lambda: running.start(unknown, lab.strategy())).code
    nonsense = {**process_lab.body(unknown, lab.strategy()), "environment": "{}"}
    assert (
        errors.Code.SPEC_UNREADABLE is process_lab.refused(lambda: running.client.post("/v1/rollouts", nonsense)).code
    )
    assert [found["stable"] for found in before] == [
        found["stable"] for found in running.client.get("/v1/status")["services"]
    ]


def test_an_unknown_verb_exits_2(running: process_lab.ProcessLab) -> None:
    found = running.command("launch")

    assert 2 == found.code
    assert "No such command 'launch'" in found.err


@pytest.mark.slow
def test_a_taken_production_port_refuses_the_first_deploy_and_leaves_no_trace() -> None:
    with taken_port() as port, process_lab.laboratory(SOFTLAUNCH_PRODUCTION_PORT=str(port)) as found:
        digest = found.make("first")

        refusal = process_lab.refused(lambda: found.start(digest, lab.strategy()))

        assert (errors.Code.PORT_TAKEN, errors.ConflictError) == (refusal.code, type(refusal))
        assert {"environments": {}, "services": []} == found.client.get("/v1/status")


@pytest.mark.slow
def test_a_taken_api_port_is_an_error_and_nothing_is_left_running() -> None:
    with taken_port() as port, process_lab.laboratory(started=False, SOFTLAUNCH_API_PORT=str(port)) as found:
        answer = found.command("up")

        assert (3, "port-taken") == (answer.code, answer.document["code"])
        assert str(port) in answer.document["error"]
        assert {} == process_lab.settled(found.processes)


@pytest.mark.slow
def test_an_envoy_that_does_not_run_is_an_error_and_nothing_is_left_running() -> None:
    with tempfile.TemporaryDirectory() as name:
        broken = pathlib.Path(name) / "envoy"
        broken.write_text("#!/bin/sh\necho 'this is no Envoy' >&2\nexit 1\n")
        broken.chmod(0o755)
        with process_lab.laboratory(started=False, SOFTLAUNCH_ENVOY=str(broken)) as found:
            answer = found.command("up")

            assert (4, "gateway-unreachable") == (answer.code, answer.document["code"])
            assert "this is no Envoy" in answer.document["error"]
            assert {} == process_lab.settled(found.processes)


@pytest.mark.slow
def test_a_damaged_state_is_named_and_kept() -> None:
    with process_lab.laboratory() as found:
        found.down()
        damaged = b"no database at all" * 1_000
        found.home.state_file.write_bytes(damaged)

        answer = found.command("up")

        assert (4, "state-damaged") == (answer.code, answer.document["code"])
        assert str(found.home.state_file) in answer.document["error"]
        assert damaged == found.home.state_file.read_bytes()
        assert {} == process_lab.settled(found.processes)


@pytest.mark.slow
def test_after_a_kill_status_says_so_and_down_stops_what_is_left() -> None:
    with process_lab.laboratory() as found:
        found.deploy(found.make("stable"), lab.strategy())
        found.kill_control_plane()

        status = found.command("status")

        assert (4, "not-running") == (status.code, status.document["code"])
        assert process_lab.serves(found.port)
        assert {"stopped": True} == found.command("down").document
        assert {} == process_lab.settled(found.processes)
        assert {"stopped": False} == found.command("down").document


@pytest.mark.parametrize(
    ("home", "code"), [("/dev/null/home", 2), ("/proc/softlaunch", 4)], ids=["below a file", "where nobody may write"]
)
def test_a_home_that_cannot_be_made_is_named(running: process_lab.ProcessLab, home: str, code: int) -> None:
    done = subprocess.run(
        [*running.verb("up"), "--home", home, "--json"],
        capture_output=True,
        text=True,
        env=running.environment(),
        check=False,
    )

    assert (code, "home-unusable") == (done.returncode, json.loads(done.stdout)["code"])
    assert home.rpartition("/")[0] in json.loads(done.stdout)["error"]


@pytest.mark.slow
def test_a_full_disk_refuses_a_deploy_and_traffic_goes_on() -> None:
    with small_disk() as place, process_lab.laboratory(place=place) as found:
        found.deploy(found.make("stable"), lab.strategy())
        stable = found.client.get("/v1/status")["services"][0]["stable"]
        candidate = found.make("next")
        fill = place / "fill"
        fill_up(fill)

        refusal = process_lab.refused(lambda: found.start(candidate, lab.strategy()))

        assert refusal.code in {errors.Code.STATE_UNWRITABLE, errors.Code.DISK_FULL}
        assert process_lab.serves(found.port)
        fill.unlink()
        after = found.client.get("/v1/status")["services"][0]
        assert (stable, None) == (after["stable"], after["rollout"])
        fill_up(fill)  # leaving the laboratory checks that `down` stops everything on a full disk, too
        assert process_lab.serves(found.port)


def fill_up(path: pathlib.Path) -> None:
    """To the last block."""
    with path.open("wb", buffering=0) as sink:
        for size in (65_536, 512):
            with contextlib.suppress(OSError):
                while sink.write(bytes(size)) == size:
                    pass


@contextlib.contextmanager
def small_disk() -> Iterator[pathlib.Path]:
    """A file system of 64 MB; skips where none can be mounted."""
    with tempfile.TemporaryDirectory(prefix="sl-disk-") as name:
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "none", name], capture_output=True, check=False
        )
        if not mounted or mounted.returncode:
            pytest.skip("a small disk cannot be mounted here (needs root)")
        try:
            yield pathlib.Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)
