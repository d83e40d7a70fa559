"""The fallback server, a real process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from softlaunch.core import fallbacks, spec

TABLE = "carrier,label,probability\nUA,1,0.75\n,0,0.5\n"
CODE = """
import time
RATE = 2.0

def base(row):
    match row["kind"]:
        case "raise":
            raise ValueError(f"secret {row['x']}")
        case "hang":
            while True:
                pass
        case "sleep":
            time.sleep(30)
        case "nan":
            return {"price": float("nan")}
        case "number":
            return 1.0
        case "none":
            return None
        case "exit":
            raise SystemExit
    return {"price": RATE * row["x"]}
"""


class Server:
    def __init__(self, process: subprocess.Popen[str], socket: pathlib.Path) -> None:
        self.process = process
        self.socket = socket

    def client(self, **more: Any) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        return httpx.Client(transport=transport, base_url="http://fallback", **more)

    def wait_ready(self) -> Server:
        deadline = time.monotonic() + 60
        with self.client() as client:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.process.communicate()
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/v2/health/ready").status_code == 200:
                        return self
                time.sleep(0.02)
        raise AssertionError("not ready in 60 s")


@pytest.fixture
def start(place: pathlib.Path) -> Iterator[Callable[..., Server]]:
    started: list[subprocess.Popen[str]] = []

    def start(fallback: spec.FallbackSpec | bytes, *options: str, features: tuple[str, ...] = ()) -> Server:
        raw = fallback if isinstance(fallback, bytes) else b""
        if isinstance(fallback, spec.FallbackSpec):
            raw = fallbacks.dump(fallbacks.Task(fallback=fallback, features=features))
        (place / "spec.json").write_bytes(raw)
        socket = place / "fallback-1.sock"
        command = [sys.executable, "-m", "softlaunch.serving.fallback", "--spec", str(place / "spec.json")]
        process = subprocess.Popen(
            [*command, "--socket", str(socket), "--instance", "token", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Server(process, socket)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def table(content: str = TABLE, *keys: str) -> spec.FallbackSpec:
    return spec.FallbackSpec(
        kind=spec.FallbackKind.TABLE, target="prices.csv", keys=keys or ("carrier",), content=content
    )


def python(content: str = CODE) -> spec.FallbackSpec:
    return spec.FallbackSpec(kind=spec.FallbackKind.PYTHON, target="prices.py:base", content=content)


def test_a_table_answers_in_the_model_server_s_shape(start: Callable[..., Server]) -> None:
    with start(table(), features=("x", "carrier")).wait_ready().client() as client:
        rows = [{"carrier": "UA", "x": 1}, {"carrier": "XX"}]
        for body in ({"rows": rows}, rows):
            answer = client.post("/predict", json=body)
            assert [{"label": 1, "probability": 0.75}, {"label": 0, "probability": 0.5}] == answer.json()["predictions"]
            assert "table" == answer.headers["x-softlaunch-fallback"]
        assert {"label": 1, "probability": 0.75} == client.post("/predict", json=rows[0]).json()["prediction"]
        named = {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["UA", "XX"]}
        matrix = {"name": "all", "shape": [2, 2], "datatype": "BYTES", "data": ["1", "UA", "2", "XX"]}
        for tensor in (named, matrix):
            answer = client.post("/v2/models/delay/infer", json={"inputs": [tensor], "id": "7"})
            assert {"model_name": "delay", "id": "7"}.items() <= answer.json().items()
            assert [
                {"name": "label", "shape": [2], "datatype": "INT64", "data": [1, 0]},
                {"name": "probability", "shape": [2], "datatype": "FP64", "data": [0.75, 0.5]},
            ] == answer.json()["outputs"]
        asked = {"inputs": [named], "outputs": [{"name": "label"}]}
        assert ["label"] == [found["name"] for found in client.post("/v2/models/d/infer", json=asked).json()["outputs"]]


def test_binary_tensors_are_understood_and_answered_as_json(start: Callable[..., Server]) -> None:
    raw = b"\2\0\0\0UA\2\0\0\0ZZ"
    carrier = {"name": "carrier", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [carrier], "parameters": {"binary_data_output": True}}).encode()

    with start(table()).wait_ready().client() as client:
        headers = {"inference-header-content-length": str(len(head))}
        found = client.post("/v2/models/toy/infer", content=head + raw, headers=headers)

    assert 200 == found.status_code, found.text
    assert {"label": [1, 0], "probability": [0.75, 0.5]} == {
        output["name"]: output["data"] for output in found.json()["outputs"]
    }


def test_what_the_table_does_not_know_is_a_miss(start: Callable[..., Server]) -> None:
    with start(table("carrier,label\nUA,1\n")).wait_ready().client() as client:
        answer = client.post("/predict", json={"carrier": "XX"})
        assert (503, "no-row") == (answer.status_code, answer.headers["x-softlaunch-fallback-miss"])
        matrix = {"name": "all", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
        for path, body in (("/v2/models/d/infer", {"inputs": [matrix]}), ("/quote", {})):
            answer = client.post(path, json=body)
            assert (503, "unreadable") == (answer.status_code, answer.headers["x-softlaunch-fallback-miss"])
        assert 400 == client.post("/predict", content=b"{").status_code
        assert 404 == client.get("/predict").status_code


def test_health_is_asked_as_of_a_model_server(start: Callable[..., Server]) -> None:
    server = start(table()).wait_ready()
    with server.client() as client:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert "token" == client.get(path).headers["x-softlaunch-instance"]
    server.process.terminate()

    assert 0 == server.process.wait(timeout=10)
    assert not server.socket.exists()


def test_a_function_answers_and_what_goes_wrong_in_it_is_a_miss_without_the_row_s_values(
    start: Callable[..., Server],
) -> None:
    server = start(python()).wait_ready()
    with server.client() as client:
        answer = client.post("/predict", json={"kind": "", "x": 21})
        assert {"price": 42.0} == answer.json()["prediction"]
        assert "python" == answer.headers["x-softlaunch-fallback"]
        for kind, reason in (
            ("raise", "raised"),
            ("exit", "raised"),
            ("none", "raised"),
            ("nan", "not-outputs"),
            ("number", "not-outputs"),
        ):
            answer = client.post("/predict", json={"kind": kind, "x": "4711"})
            assert (503, reason) == (answer.status_code, answer.headers["x-softlaunch-fallback-miss"])
            assert "4711" not in answer.text
        assert "KeyError in prices.py:6" in client.post("/predict", json={"x": 1}).json()["error"]
    server.process.terminate()
    _, said = server.process.communicate(timeout=10)

    assert "ValueError in prices.py:8" in said
    assert "4711" not in said


def test_a_call_that_takes_too_long_is_given_up_and_the_next_one_answered(start: Callable[..., Server]) -> None:
    server = start(python(), "--call-seconds", "0.1").wait_ready()
    with server.client() as client:
        started = time.monotonic()
        answer = client.post("/predict", json={"kind": "hang", "x": 1})
        assert (503, "timeout") == (answer.status_code, answer.headers["x-softlaunch-fallback-miss"])
        assert time.monotonic() - started < 2.0  # 0.1 s, and a busy machine
        assert {"price": 2.0} == client.post("/predict", json={"kind": "", "x": 1}).json()["prediction"]
        assert 200 == client.get("/v2/health/ready").status_code


def test_health_answers_while_calls_hang_and_a_server_of_stuck_calls_ends(start: Callable[..., Server]) -> None:
    server = start(python(), "--call-seconds", "0.1").wait_ready()

    def hang(_: int) -> int:
        with server.client() as client, contextlib.suppress(httpx.TransportError):
            return client.post("/predict", json={"kind": "sleep", "x": 1}).status_code
        return 0

    with concurrent.futures.ThreadPoolExecutor(4) as pool, server.client() as client:
        hung = [pool.submit(hang, number) for number in range(4)]
        assert 200 == client.get("/v2/health/ready").status_code
        assert {503} == {each.result() for each in hung}
        for number in range(8):
            hang(number)

    assert 1 == server.process.wait(timeout=10)
    assert "starting afresh" in server.process.communicate()[1]


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        (b"{", "--spec cannot be read"),
        (table("k,v\n"), "has no column 'carrier'"),
        (python("def base(row): ...\n1 / 0\n"), "raised ZeroDivisionError"),
        (spec.FallbackSpec(kind=spec.FallbackKind.URL, target="http://x"), "which is a route"),
    ],
)
def test_what_cannot_answer_ends_the_process_with_one_line(fallback, words, start: Callable[..., Server]) -> None:
    server = start(fallback)
    _, said = server.process.communicate(timeout=60)

    assert 1 == server.process.returncode
    assert said.startswith("softlaunch.serving.fallback: fallback-unusable: ")
    assert words in said
