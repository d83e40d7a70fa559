"""Clients that are slow, many or large, and models that answer too little: no crash, no leak."""

from __future__ import annotations

import contextlib
import pathlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from softlaunch.core import predictions, release

MANY = 10_000
LARGE_BYTES = 100 * 2**20
ROW = {"x": 1, "y": 2}
REQUEST = b'POST /predict HTTP/1.1\r\nhost: model\r\ncontent-length: 13\r\n\r\n{"x":1,"y":2}'


def connect(server: Any) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(server.socket))  # before the timeout: with one, a full backlog is an error, not a wait
    made.settimeout(20)
    return made


def open_files(server: Any) -> int:
    return sum(1 for _ in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir())


def memory_mib(server: Any, name: str) -> float:
    lines = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_answers(server: Any) -> None:
    with server.client(timeout=20) as client:
        assert 200 == client.post("/predict", json=ROW).status_code


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 500:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
def test_ten_thousand_connections_are_held_answered_and_let_go(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx()).wait_ready()
    before = open_files(server)

    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(contextlib.closing(connect(server))) for _ in range(MANY)]
        for each in made[::97]:
            each.sendall(REQUEST)
        for each in made[::97]:
            assert each.recv(4_096).startswith(b"HTTP/1.1 200")
        assert_answers(server)

    wait_until(lambda: open_files(server) <= before + 5)
    assert server.process.poll() is None


def test_clients_that_never_finish_hold_nobody_up(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx()).wait_ready()
    before = open_files(server)

    with contextlib.ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(contextlib.closing(connect(server)))
            slow.sendall(REQUEST[: 20 + number % (len(REQUEST) - 21)])
        for _ in range(20):
            assert_answers(server)

    wait_until(lambda: open_files(server) <= before + 5)


def test_a_body_of_a_hundred_megabytes_is_refused_and_not_kept(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx()).wait_ready()
    assert_answers(server)
    before = memory_mib(server, "Rss")

    for _ in range(3):
        with contextlib.closing(connect(server)) as large:
            large.sendall(b"POST /predict HTTP/1.1\r\nhost: model\r\ncontent-length: %d\r\n\r\n" % LARGE_BYTES)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(LARGE_BYTES // 2**20):
                    large.sendall(b" " * 2**20)
            with contextlib.suppress(ConnectionResetError):
                answer = large.recv(4_096)
                assert not answer or answer.startswith(b"HTTP/1.1 413")

    assert_answers(server)
    assert memory_mib(server, "Rss") < before + 60


def test_a_model_that_answers_fewer_rows_than_asked_fails_that_request_alone(
    serve: Callable[..., Any], releases: Any
) -> None:
    code = """
        class Model:
            def predict(self, rows):
                return [row["x"] for row in rows if row["x"] >= 0]
    """
    server = serve(releases.python(code)).wait_ready()

    with server.client() as client:
        short: httpx.Response = client.post("/predict", json=[ROW, {"x": -1, "y": 0}])
        assert (500, "1") == (short.status_code, short.headers["x-softlaunch-invalid"])
        assert "1 " in short.json()["error"]
        assert 200 == client.post("/predict", json=ROW).status_code


def test_business_keys_are_recorded_and_not_shown_to_the_model(
    serve: Callable[..., Any], releases: Any, tmp_path: pathlib.Path
) -> None:
    from softlaunch.adapters.spool import local

    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    options = ["--spool", str(tmp_path / "toy" / "production"), "--capture-key", "order", "--redact", "order=hash"]
    server = serve(releases.onnx(), *options, "--redact-secret", str(secret), "--redact", "y=drop").wait_ready()

    with server.client() as client:
        headers = {"x-request-id": "r1"}
        answer = client.post("/predict", json={**ROW, "order": "o-7"}, headers=headers)
        assert (200, "r1:0") == (answer.status_code, answer.headers["x-softlaunch-prediction-id"])
        server.process.terminate()
    assert 0 == server.process.wait(20)

    (found,) = local.LocalSpool(tmp_path).find("r1")
    assert found.redacted
    assert b"o-7" not in found.request
    assert b'"y":null' in found.request
    ((digest,),) = found.keys.values()
    assert 32 == len(digest)


@pytest.mark.slow
def test_replicas_of_an_uncompressed_model_share_its_arrays(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.write(
        release.Runtime.SKLEARN, outputs=predictions.regressor_outputs(), model_file="model/model.joblib"
    )
    points = np.random.default_rng(0).normal(size=(4_000_000, 2))
    model = KNeighborsRegressor(algorithm="brute").fit(points, points[:, 0])
    joblib.dump(model, directory / "model" / "model.joblib")
    megabytes = (directory / "model" / "model.joblib").stat().st_size / 2**20

    servers = [serve(directory, name=f"{number}.sock").wait_ready() for number in range(2)]
    for server in servers:
        assert_answers(server)

    shared = sum(memory_mib(server, "Rss") - memory_mib(server, "Pss") for server in servers)
    assert shared > 0.9 * megabytes
