"""Clients in masses, slow ones and greedy ones: each is told so, and nobody else notices."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable

import gateway_bench
import psutil
import pytest

from softlaunch.adapters.envoy import routes

CONNECTIONS = 10_000
HEAD = b"POST /predict HTTP/1.1\r\nhost: flights.localhost\r\n"


def connect(port: int, number: int = 0) -> socket.socket:
    """From one of several loopback addresses: one alone has 28,000 ports, and earlier tests leave some in TIME_WAIT."""
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(f"127.0.0.{2 + number % 4}", 0))


def status(connection: socket.socket) -> int:
    """Of the answer that comes next; 0 when the connection ends without one."""
    try:
        line = connection.recv(65_536)
    except ConnectionError:
        return 0
    return int(line.split(b" ")[1]) if line else 0


def responsive(bench: gateway_bench.Bench) -> float:
    """Seconds that the slowest of some usual requests took; each was answered well."""
    answers = bench.send(100, connections=4)
    assert [] == gateway_bench.failed(answers)
    return max(answer.seconds for answer in answers)


@pytest.fixture
def descriptors() -> int:
    """As many as this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.mark.slow
def test_ten_thousand_idle_connections_and_slow_senders_keep_nobody_waiting(
    bench: gateway_bench.Bench, descriptors: int
) -> None:
    assert descriptors > CONNECTIONS + 500, "raise the limit of open files (ulimit -n) for this test"
    bench.apply(rollout=False)
    envoy = psutil.Process(bench.gateway.pid)
    before = envoy.memory_info().rss
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            connection = stack.enter_context(connect(bench.port, number))
            if number % 10 == 0:  # headers that never end
                connection.sendall(HEAD)
            elif number % 10 == 1:  # a body that never ends
                connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
        slowest = responsive(bench)
        each = (envoy.memory_info().rss - before) / CONNECTIONS

    assert slowest < 5.0
    assert each < 100_000  # bytes: 20,000 connections, the most there can be, take less than 2 GB
    assert 100 == sum(server.attempts for server in bench.stable)  # nothing of the slow ones has reached a model server
    assert responsive(bench) < 5.0


@pytest.mark.slow
def test_headers_that_do_not_end_are_given_up_in_words_after_ten_seconds(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    with connect(bench.port) as slow:
        began = time.monotonic()
        slow.sendall(HEAD)
        for _ in range(4):  # a header now and then does not prolong it
            time.sleep(1.0)
            slow.sendall(b"x-more: 1\r\n")
        answered = status(slow)

    assert 408 == answered
    assert 5.0 < time.monotonic() - began < 25.0


def huge(length: int) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % length)
        block = bytes(1024 * 1024)
        for _ in range(length // len(block)):
            connection.sendall(block)

    return send


def chunked(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    block = b"100000\r\n" + bytes(1024 * 1024) + b"\r\n"
    for _ in range(100):
        connection.sendall(block)


def long_head(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x-long: " + b"y" * 200_000 + b"\r\n\r\n")


def many_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"".join(b"x-%d: 1\r\n" % number for number in range(500)) + b"\r\n")


@pytest.mark.parametrize(
    ("send", "expected"), [(huge(100 * 1024 * 1024), 413), (chunked, 413), (long_head, 431), (many_headers, 431)]
)
def test_what_is_too_large_is_refused_while_it_is_still_being_sent(
    bench: gateway_bench.Bench, send: Callable[[socket.socket], None], expected: int
) -> None:
    bench.apply(rollout=False)
    envoy = psutil.Process(bench.gateway.pid)
    with connect(bench.port) as greedy:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its answer may still be read
            send(greedy)
        answered = status(greedy)

    assert answered in {expected, 0}  # 0: the reset of the connection overtook the answer
    assert envoy.memory_info().rss < 2 * 1024**3
    assert 0 == sum(server.attempts for server in bench.stable)
    responsive(bench)


def test_a_body_just_too_large_is_refused_in_words(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    (answer,) = bench.send(1, body=bytes(routes.BODY_BYTES_MAX + 1))

    assert 413 == answer.status
    assert b"8 MiB" in answer.body
