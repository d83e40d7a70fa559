"""A model server at a port, as containers have it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from softlaunch.testing import releases

DIGEST = "sha256:" + "ab" * 32


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listen(tmp_path):
    directory = releases.write(tmp_path / "release", name="listened")
    started = []

    def start(address: str, **variables: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "softlaunch.serving", "--release", str(directory), "--digest", DIGEST]
        process = subprocess.Popen(
            [*command, "--listen", address], stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ready(port: int) -> httpx.Response:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"http://127.0.0.1:{port}/v2/health/ready")
            if answer.status_code == 200:
                return answer
        time.sleep(0.05)
    raise AssertionError("not ready in 60 s")


def test_a_port_from_a_variable_is_served_named_by_the_digest_and_drained(listen) -> None:
    port = free_port()
    process = listen("127.0.0.1:$PORT", PORT=str(port))

    assert socket.gethostname() == ready(port).headers["x-softlaunch-instance"]
    answer = httpx.post(f"http://127.0.0.1:{port}/predict", json=releases.LIVE_ROW)
    assert (200, "ab" * 6) == (answer.status_code, answer.json()["release"])

    second = listen(f"127.0.0.1:{port}")
    assert (1, True) == (second.wait(60), "socket-unusable" in second.stderr.read())
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(30)


@pytest.mark.parametrize("address", ["8080", ":8080", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:$NO_SUCH_VARIABLE"])
def test_an_address_that_is_none_is_refused(listen, address) -> None:
    process = listen(address)

    assert (2, True) == (process.wait(30), "is not HOST:PORT" in process.stderr.read())
