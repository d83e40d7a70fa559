from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from softlaunch.core import release

SLOW = """
    import pathlib
    import time

    class Model:
        calls = 0

        def predict(self, rows):
            Model.calls += 1
            if rows[0]["x"] == -1:
                pathlib.Path("begun").touch()
                while not pathlib.Path("go").exists():
                    time.sleep(0.005)
            elif rows[0]["x"] < 0:
                time.sleep(-rows[0]["x"])
            return [{"size": len(rows), "calls": Model.calls} for _ in rows]
"""
BLOCKING = {"x": -1, "y": 0}
"""This row's call begins by touching "begun" and ends when there is a file "go"."""
QUICK = {"x": 1, "y": 0}
COUNTS = (
    release.Column(name="size", datatype=release.Datatype.INT64),
    release.Column(name="calls", datatype=release.Datatype.INT64),
)


def concurrently(server: Any, stories: Callable[[httpx.AsyncClient], Any]) -> Any:
    async def run() -> Any:
        transport = httpx.AsyncHTTPTransport(
            uds=str(server.socket), verify=False, limits=httpx.Limits(max_connections=200)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://model", timeout=10) as client:
            return await stories(client)

    return asyncio.run(run())


async def block(client: httpx.AsyncClient, code: pathlib.Path) -> asyncio.Task[httpx.Response]:
    """A request whose call has begun and waits for code/go."""
    task = asyncio.create_task(client.post("/predict", json=BLOCKING))
    while not (code / "begun").exists():  # noqa: ASYNC110  # another process's file, which no Event tells of
        await asyncio.sleep(0.005)
    return task


def test_what_queued_during_a_call_is_answered_in_one_batch(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.python(SLOW, outputs=COUNTS)
    server = serve(directory).wait_ready()

    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        blocked = await block(client, directory / "code")
        queued = [asyncio.create_task(client.post("/predict", json=QUICK)) for _ in range(20)]
        await asyncio.sleep(0.5)
        (directory / "code" / "go").touch()
        return [await blocked, *await asyncio.gather(*queued)]

    first, *later = concurrently(server, story)

    assert 1 == first.json()["prediction"]["size"]
    # All 20 when the machine is idle; on a busy one some arrive after the half second.
    assert max(answer.json()["prediction"]["size"] for answer in later) > 1
    assert len({answer.json()["prediction"]["calls"] for answer in later}) < 20


def test_overload_is_shed_as_the_gateway_expects_it(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.python(SLOW, outputs=COUNTS)
    server = serve(directory, "--queue-rows-max", "4").wait_ready()

    async def story(client: httpx.AsyncClient) -> tuple[list[httpx.Response], list[httpx.Response]]:
        blocked = await block(client, directory / "code")
        asked = {asyncio.create_task(client.post("/predict", json=QUICK)) for _ in range(10)}
        shed: list[httpx.Response] = []
        while len(shed) < 6:
            done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            shed.extend(task.result() for task in done)
        (directory / "code" / "go").touch()
        return shed, [await blocked, *await asyncio.gather(*asked)]

    shed, answered = concurrently(server, story)

    assert {(503, "1", "true", "1")} == {
        (
            each.status_code,
            *(each.headers[name] for name in ("x-softlaunch-shed", "x-envoy-ratelimited", "retry-after")),
        )
        for each in shed
    }
    assert [200] * 5 == [answer.status_code for answer in answered]


def test_a_request_whose_client_left_is_not_computed(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.python(SLOW, outputs=COUNTS)
    server = serve(directory, "--batch-rows-max", "1").wait_ready()

    async def story(client: httpx.AsyncClient) -> int:
        before = (await client.post("/predict", json=QUICK)).json()["prediction"]["calls"]
        blocked = await block(client, directory / "code")
        leaving = [client.post("/predict", json=QUICK, timeout=0.3) for _ in range(5)]
        left = await asyncio.gather(*leaving, return_exceptions=True)
        assert all(isinstance(each, httpx.TimeoutException) for each in left)
        await asyncio.sleep(0.3)
        (directory / "code" / "go").touch()
        await blocked
        after = (await client.post("/predict", json=QUICK)).json()["prediction"]["calls"]
        return after - before

    assert 2 == concurrently(server, story)


def test_sigterm_answers_everything_that_was_accepted(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.python(SLOW, outputs=COUNTS)).wait_ready()
    statuses: list[int] = []
    refused: list[Exception] = []
    failed: list[Exception] = []

    def client_loop() -> None:
        with server.client(timeout=10) as client:
            while True:
                try:
                    statuses.append(client.post("/predict", json={"x": -0.005, "y": 0}).status_code)
                except httpx.ConnectError as error:  # the socket is gone: another replica would be asked
                    refused.append(error)
                    return
                except httpx.HTTPError as error:
                    failed.append(error)
                    return

    threads = [threading.Thread(target=client_loop) for _ in range(16)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(statuses) < 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=60)
    for thread in threads:
        thread.join(10)

    assert (0, "") == (server.process.returncode, said)
    assert not failed
    assert 16 == len(refused)
    assert {200} == set(statuses)
    assert not server.socket.exists()


def test_an_idle_kept_connection_does_not_hold_up_the_end(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.onnx(), "--grace-seconds", "20").wait_ready()

    with server.client() as client:
        client.get("/v2/health/live")
        server.process.terminate()
        assert 0 == server.process.wait(15)


def test_a_hung_model_does_not_outlive_the_grace(serve: Callable[..., Any], releases: Any) -> None:
    server = serve(releases.python(SLOW, outputs=COUNTS), "--grace-seconds", "0.3").wait_ready()

    with server.client(timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/predict", json={"x": -30, "y": 0})
    with server.client() as client:
        assert 200 == client.get("/v2/health/live").status_code
    hanging = threading.Thread(target=ask_and_forget, args=(server,))
    hanging.start()
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=15)
    hanging.join(10)

    assert 1 == server.process.returncode
    assert "unanswered after 0.3 s" in said


def ask_and_forget(server: Any) -> None:
    with server.client(timeout=10) as client, contextlib.suppress(httpx.HTTPError):
        client.post("/predict", json=QUICK)


def test_after_kill_nothing_serves_and_a_successor_takes_the_socket(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.onnx()
    server = serve(directory).wait_ready()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(15)

    with server.client() as client, pytest.raises(httpx.ConnectError):
        client.get("/v2/health/live")
    assert server.socket.exists()
    successor = serve(directory).wait_ready()

    second = serve(directory)  # a third one must not take a living one's place
    _, said = second.process.communicate(timeout=60)
    assert 1 == second.process.returncode
    assert "socket-unusable" in said
    with successor.client() as client:
        assert 200 == client.get("/v2/health/ready").status_code


def test_a_draining_server_does_not_remove_its_successors_socket(serve: Callable[..., Any], releases: Any) -> None:
    directory = releases.onnx()
    old = serve(directory).wait_ready()
    old.socket.unlink()
    successor = serve(directory).wait_ready()
    old.process.terminate()

    assert 0 == old.process.wait(10)
    with successor.client() as client:
        assert 200 == client.get("/v2/health/ready").status_code
