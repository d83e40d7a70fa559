"""Each planted fault in a real model server: what users meet, and what smoke requests and health checks do not."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from softlaunch.controller import drill
from softlaunch.core import drills

Name = drills.FaultName
USER = {"x-request-id": "1"}
ROW = {"x": 1, "y": 2}
MODEL = "class Model:\n    def predict(self, rows):\n        return [row['x'] + 10 * row['y'] for row in rows]"


@pytest.fixture
def drilled(serve: Callable[..., Any], releases: Any, place: pathlib.Path) -> Callable[..., Any]:
    def start(name: drills.FaultName, *, ready: bool = True, smoke: bool = False, **parameters: float) -> Any:
        directory = drill.derive(releases.python(MODEL), drills.fault(name, parameters, smoke=smoke), place / "drill")
        server = serve(directory)
        return server.wait_ready() if ready else server

    return start


def fine(client: httpx.Client) -> bool:
    """Smoke requests and health checks are answered well."""
    answer = client.post("/predict", json=ROW)
    return answer.json()["prediction"] == {"prediction": 21.0} and client.get("/v2/health/ready").status_code == 200


def test_users_get_503s(drilled: Callable[..., Any]) -> None:
    with drilled(Name.ERRORS_5XX).client() as client:
        for path, body in (("/predict", ROW), ("/v2/models/toy/infer", {})):
            answer = client.post(path, json=body, headers=USER)
            assert 503 == answer.status_code
            assert "on purpose" in answer.json()["error"]
            assert "x-softlaunch-shed" not in answer.headers
        assert fine(client)


def test_smoke_requests_meet_the_fault_when_the_drill_says_so(drilled: Callable[..., Any]) -> None:
    with drilled(Name.ERRORS_5XX, smoke=True).client() as client:
        assert 503 == client.post("/predict", json=ROW).status_code


def test_a_share_of_requests_meets_the_fault(drilled: Callable[..., Any]) -> None:
    with drilled(Name.ERRORS_5XX, percent=20).client() as client:
        statuses = [client.post("/predict", json=ROW, headers=USER).status_code for _ in range(50)]

    assert 10 == statuses.count(503)
    assert 40 == statuses.count(200)


def test_connections_are_cut_without_an_answer(drilled: Callable[..., Any]) -> None:
    with drilled(Name.RESETS).client() as client:
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                client.post("/predict", json=ROW, headers=USER)
        assert fine(client)


def test_a_hung_request_is_never_answered(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.HANG)
    with server.client(timeout=0.5) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/predict", json=ROW, headers=USER)
        assert fine(client)
    server.process.terminate()

    assert 0 == server.process.wait(timeout=10)  # its client has left: nothing is owed


def test_a_slow_start_is_live_and_not_ready(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.SLOW_START, ready=False, seconds=1.5)
    started = time.monotonic()
    with server.client() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/v2/health/live").status_code == 200:
                    break
            time.sleep(0.02)
        assert 503 == client.get("/v2/health/ready").status_code
        assert 503 == client.post("/predict", json=ROW).status_code
    server.wait_ready()

    assert time.monotonic() - started >= 1.5


def test_a_server_that_starts_slowly_still_ends_when_asked(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.SLOW_START, ready=False)
    while not server.socket.exists():
        time.sleep(0.02)
    server.process.terminate()

    assert 0 == server.process.wait(timeout=10)


def test_some_answers_come_late(drilled: Callable[..., Any]) -> None:
    def seconds(client: httpx.Client) -> float:
        started = time.monotonic()
        assert {"prediction": 21.0} == client.post("/predict", json=ROW, headers=USER).json()["prediction"]
        return time.monotonic() - started

    with drilled(Name.LATENCY_TAIL, percent=10, seconds=0.4).client() as client:
        late = [seconds(client) >= 0.4 for _ in range(20)]

    # Every tenth surely; another one only when the machine itself stood still for so long.
    assert late[9]
    assert late[19]
    assert sum(late) < 10


@pytest.mark.parametrize("name", [Name.NAN, Name.WRONG_SCHEMA])
def test_invalid_answers_go_the_way_of_real_ones(drilled: Callable[..., Any], name: drills.FaultName) -> None:
    with drilled(name).client() as client:
        answer = client.post("/predict", json=ROW, headers=USER)
        assert (500, "1") == (answer.status_code, answer.headers["x-softlaunch-invalid"])
        assert "prediction" == answer.json()["output"]
        assert ("nan" if name is Name.NAN else "off the schema") in answer.json()["error"]
        assert fine(client)


def test_the_process_ends_after_so_many_requests(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.CRASH_LOOP, requests=3)
    with server.client() as client:
        assert fine(client)
        for _ in range(2):
            assert 200 == client.post("/predict", json=ROW, headers=USER).status_code
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post("/predict", json=ROW, headers=USER)

    assert 1 == server.process.wait(timeout=10)


def test_memory_really_grows_and_stops_at_its_limit(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.MEMORY_LEAK, kib=4096, mib_max=60)
    process = psutil.Process(server.process.pid)
    with server.client() as client:

        def grown(count: int) -> float:
            before = process.memory_info().rss
            for _ in range(count):
                assert 200 == client.post("/predict", json=ROW, headers=USER).status_code
            return (process.memory_info().rss - before) / 2**20

        assert fine(client)
        before = int(client.post("/predict", json=ROW).headers["x-softlaunch-memory-kib"])
        assert 50 < grown(15) < 90  # 60 MiB, and what the server itself takes
        time.sleep(0.6)  # the server looks at its own memory four times a second
        after = int(client.post("/predict", json=ROW).headers["x-softlaunch-memory-kib"])
        assert after - before > 50 * 1024
        assert grown(15) < 20


def test_the_processor_is_really_busy(drilled: Callable[..., Any]) -> None:
    server = drilled(Name.CPU_BURN, ms=20)
    process = psutil.Process(server.process.pid)
    with server.client() as client:
        assert fine(client)
        before = process.cpu_times()
        for _ in range(10):
            answer = client.post("/predict", json=ROW, headers=USER)
            assert {"prediction": 21.0} == answer.json()["prediction"]
            assert int(answer.headers["x-softlaunch-cpu-us"]) >= 20_000  # the guardrail sees it, too
        after = process.cpu_times()

    assert after.user + after.system - before.user - before.system >= 0.18  # 10 rows of 20 ms, in clock ticks of 10 ms


def test_a_drill_file_that_the_release_does_not_speak_of_is_refused(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.python(MODEL)
    (directory / "drill.json").write_bytes(drills.dump(drills.fault(Name.NAN)))
    server = serve(directory)
    _, said = server.process.communicate(timeout=60)

    assert 1 == server.process.returncode
    assert "release-unreadable" in said
