"""A model of a real MLflow tracking server: pinned, launched, pinned anew, and refused when its bytes change."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import bring_lab
import httpx
import lab
import pytest

from softlaunch.adapters.python_env import uv

pytestmark = pytest.mark.slow
ROW = {"bill": 40.0, "guests": 2}
PASSWORD = "sesame-of-mlflow"


@pytest.fixture(scope="module")
def tips(tmp_path_factory) -> Iterator[bring_lab.Service]:
    """The example, with a tracking server that holds version 1 of its model, called champion."""
    port = lab.free_port()
    place = tmp_path_factory.mktemp("mlflow")
    with bring_lab.bringing() as machine:
        service = bring_lab.brought(machine, "mlflow", name="tips")
        lock = (service.folder / "requirements.lock").read_bytes()
        python = str(uv.UvEnvironments(machine.home.venvs).building(lock).python)
        with tracking(python, port, place):
            # MLflow's client sends what stands before the @; this server takes everybody.
            address = f"http://somebody:{PASSWORD}@127.0.0.1:{port}"
            machine.variables["MLFLOW_TRACKING_URI"] = address
            train(python, service.folder, machine.environment())
            yield dataclasses.replace(service, python=python)


@contextlib.contextmanager
def tracking(python: str, port: int, place: pathlib.Path) -> Iterator[None]:
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "store")]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=place, start_new_session=True)
        try:
            until = time.monotonic() + 120.0
            while not healthy(port):
                assert process.poll() is None, (place / "log").read_text()[-2_000:]
                assert time.monotonic() < until, (place / "log").read_text()[-2_000:]
                time.sleep(0.1)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # nothing of it is kept
            process.wait(timeout=60)


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


def train(python: str, folder: pathlib.Path, variables: dict[str, str]) -> None:
    done = subprocess.run([python, "train.py"], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pin(tips: bring_lab.Service) -> dict[str, str]:
    done = tips.machine.command("build", "--pin", timeout=bring_lab.BUILD_SECONDS_MAX)
    assert done.code == 0, done.out + done.err
    assert PASSWORD not in done.out + done.err
    return dict(done.document)


def have_pinned(tips: bring_lab.Service) -> None:
    """Whichever of these tests another process was given."""
    done = tips.machine.command("lock", "--update", timeout=bring_lab.BUILD_SECONDS_MAX)
    assert done.code == 0, done.out + done.err
    assert tips.built()["release"]


def test_a_model_that_is_not_pinned_is_not_built(tips) -> None:
    (tips.folder / "softlaunch.lock").unlink(missing_ok=True)

    assert "softlaunch lock" in tips.refused()


def test_an_alias_is_pinned_launched_and_moved_on_only_by_pinning_again(tips) -> None:
    first = pin(tips)
    assert "1" == first["version"]
    tips.deploy()
    (answer,) = tips.answers(ROW)
    assert answer["prediction"] == pytest.approx(0.15 * 40 + 0.4 * 2, abs=0.2)
    live = tips.built()["release"]
    (run,) = tips.machine.command("runs", "list").document  # the run that logged the model, read by the build
    assert ("mlflow run id", live) == (run["releases"][0]["by"], run["releases"][0]["release"])
    assert PASSWORD not in json.dumps(run)

    text = (tips.folder / "train.py").read_text()
    (tips.folder / "train.py").write_text(text.replace("0.15 *", "0.25 *"))
    train(str(tips.python), tips.folder, tips.machine.environment())
    (tips.folder / "train.py").write_text(text)
    assert live == tips.built()["release"]

    stale = tips.machine.command("lock", "--check", timeout=bring_lab.BUILD_SECONDS_MAX)
    assert (1, ["2"]) == (stale.code, [found["now"]["version"] for found in stale.document["stale"]])
    made, again = [
        tips.machine.command("lock", "--update", "--commit", timeout=bring_lab.BUILD_SECONDS_MAX) for _ in range(2)
    ]
    assert (0, 0) == (made.code, again.code), made.out + made.err + again.out + again.err
    second = made.document["pins"]["model"]
    assert ("2", True) == (second["version"], second["sha256"] != first["sha256"])
    assert made.document["commit"]
    assert again.document["commit"] is None
    assert PASSWORD not in made.out + made.err + stale.out + stale.err
    assert live != tips.built()["release"]
    assert PASSWORD not in "".join(path.read_text() for path in tips.machine.home.logs.glob("*.log"))


def test_other_bytes_under_the_pinned_version_are_refused(tips) -> None:
    have_pinned(tips)
    kept = (tips.folder / "softlaunch.lock").read_bytes()
    document = json.loads(kept)
    found = document["pins"]["model"]
    real, found["sha256"] = found["sha256"], "0" * 64
    (tips.folder / "softlaunch.lock").write_text(json.dumps(document))

    said = tips.refused()
    (tips.folder / "softlaunch.lock").write_bytes(kept)

    assert "has changed" in said
    assert real in said


def test_a_server_that_does_not_answer_is_named_without_its_password(tips) -> None:
    done = tips.machine.command(
        "build",
        "--pin",
        timeout=120.0,
        MLFLOW_TRACKING_URI=f"http://somebody:{PASSWORD}@127.0.0.1:{lab.free_port()}",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )

    assert 0 != done.code
    assert "models:/tips@champion cannot be fetched" in done.out + done.err
    assert "MLFLOW_TRACKING_URI" in done.out + done.err
    assert PASSWORD not in done.out + done.err


def test_a_committed_directory_is_served_too_and_a_damaged_one_named(tips) -> None:
    have_pinned(tips)
    fetched = next(path for path in (tips.machine.home.cache / "mlflow").iterdir() if (path / "MLmodel").is_file())
    shutil.copytree(fetched, tips.folder / "model")
    tips.describe("model")
    assert "softlaunch.lock pins the model as models:/tips@champion" in tips.refused()
    (tips.folder / "softlaunch.lock").unlink()
    assert tips.built()["release"]

    (tips.folder / "model" / "model.pkl").write_bytes(b"\x80\x05no pickle")
    said = tips.refused()

    assert "mlflow.pyfunc refuses it" in said
