"""Runs of MLflow: a server that answers what MLflow 3.17 answered, and a file store of the files it wrote."""

from __future__ import annotations

import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.controller import training
from softlaunch.wiring import mlflow_runs

RUN = "bd47b6ea68da43a8b9eb99ff6412cfde"
LOCKED = "0a1b2c"
"""A run only who has a token may read."""
MODEL = b"the model"
INFO = {
    "run_uuid": RUN,
    "experiment_id": "0",
    "run_name": "night",
    "user_id": "ada",
    "status": "FINISHED",
    "start_time": 1795434982322,
    "end_time": 1795434982381,
    "artifact_uri": f"mlflow-artifacts:/0/{RUN}/artifacts",
    "lifecycle_stage": "active",
    "run_id": RUN,
}
VALUES = [
    {"key": "loss", "value": 0.5, "timestamp": 1795434982356, "step": 1},
    {"key": "loss", "value": 0.2, "timestamp": 1795434982362, "step": 2},
]
DATA = {
    "metrics": VALUES[1:],
    "params": [{"key": "lr", "value": "0.1"}, {"key": "api_token", "value": "hunter2"}],
    "tags": [{"key": "mlflow.source.git.commit", "value": "c" * 40}, {"key": "mlflow.runName", "value": "night"}],
}
ARTIFACTS = {
    "": [{"path": "deep", "is_dir": True}],
    "deep": [{"path": "deep/model.bin", "is_dir": False, "file_size": len(MODEL)}],
}
META = f"""\
artifact_uri: file:///somewhere/mlruns/0/{RUN}/artifacts
end_time: 1795434982381
entry_point_name: ''
experiment_id: '0'
lifecycle_stage: active
run_id: {RUN}
run_name: night
run_uuid: {RUN}
source_name: ''
source_type: 4
source_version: ''
start_time: 1795434982322
status: 3
tags: []
user_id: ada
"""


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, text = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(text))
        known = query.get("run_id") == RUN
        if query.get("run_id") == LOCKED:
            known = self.headers["authorization"] == "Bearer sesame-token"
            query["run_id"] = RUN
            if not known:
                self.send_response(401)
                self.send_header("content-length", "0")
                self.end_headers()
                return
        found = {
            "/api/2.0/mlflow/runs/get": lambda: {"run": {"info": INFO, "data": DATA, "inputs": {}, "outputs": {}}},
            "/api/2.0/mlflow/metrics/get-history": lambda: {"metrics": VALUES},
            "/api/2.0/mlflow/artifacts/list": lambda: {"root_uri": "r", "files": ARTIFACTS[query.get("path", "")]},
        }
        raw = MODEL if path == "/get-artifact" else json.dumps(found[path]() if known else {"error_code": "X"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def store(tmp_path) -> str:
    folder = tmp_path / "mlruns" / "0" / RUN
    files = {
        "meta.yaml": META,
        "params/lr": "0.1",
        "params/api_token": "hunter2",
        "metrics/loss": "1795434982356 0.5 1\n1795434982362 0.2 2\n",
        "tags/mlflow.source.git.commit": "c" * 40,
        "tags/mlflow.runName": "night",
        "artifacts/deep/model.bin": MODEL.decode(),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(tmp_path / "mlruns")


@pytest.mark.parametrize("place", ["server", "store"])
def test_a_run_of_mlflow_is_found_by_the_file_it_made(place, request, tmp_path) -> None:
    home = homes.Home(tmp_path / "home")
    taken = mlflow_runs.take(home, f"mlflow:{RUN}", request.getfixturevalue(place))
    found = training.training_run_of(home.training, hashlib.sha256(MODEL).hexdigest())

    assert taken == found
    assert (f"mlflow-{RUN}", "night", "succeeded", "c" * 40) == (
        found.run,
        found.name,
        found.outcome.value,
        found.code.commit,
    )
    assert {"lr": "0.1", "api_token": "[secret]"} == found.parameters
    (metric,) = found.metrics
    assert ("loss", 0.2, 2, 2, 0.2, 0.5) == (
        metric.name,
        metric.last,
        metric.count,
        metric.step,
        metric.least,
        metric.greatest,
    )
    assert [("deep/model.bin", len(MODEL))] == [(each.path, each.bytes) for each in found.files]


@pytest.mark.parametrize("place", ["server", "store"])
def test_a_run_that_is_not_there_is_said_to_be_so(place, request, tmp_path) -> None:
    where = request.getfixturevalue(place)
    for reference in ("mlflow:abc", "mlflow:../0", "abc"):
        with pytest.raises(errors.ConfigError) as caught:
            mlflow_runs.take(homes.Home(tmp_path / "home"), reference, where)
        assert errors.Code.MLFLOW_RUN is caught.value.code
    assert not pathlib.Path(tmp_path / "home").exists()


def test_a_server_that_does_not_answer_is_a_neighbour_s_fault(tmp_path) -> None:
    with pytest.raises(errors.UnavailableError):
        mlflow_runs.take(homes.Home(tmp_path / "home"), f"mlflow:{RUN}", "http://127.0.0.1:1")


def test_a_server_gets_mlflow_s_own_token_and_no_error_repeats_a_password(server, tmp_path, monkeypatch) -> None:
    home, with_password = homes.Home(tmp_path / "home"), server.replace("://", "://ada:hunter22@")
    with pytest.raises(errors.UnavailableError) as caught:
        mlflow_runs.take(home, f"mlflow:{LOCKED}", with_password)
    assert "hunter22" not in str(caught.value)
    assert "401" in caught.value.message
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame-token")

    assert "night" == mlflow_runs.take(home, f"mlflow:{LOCKED}", server).name


@pytest.mark.parametrize("place", ["server", "store"])
def test_a_run_that_is_read_without_its_artifacts_says_so(place, request, tmp_path) -> None:
    home = homes.Home(tmp_path / "home")
    where = request.getfixturevalue(place)
    found = mlflow_runs.take(home, f"mlflow:{RUN}", where, artifacts=False)

    assert ((), True) == (found.files, "artifacts were not read" in found.notes[0])
