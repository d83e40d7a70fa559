"""The sender of load tests, a process of its own, against a real server that freezes."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import freezing_server
import psutil
import pytest

from softlaunch import errors
from softlaunch.adapters.local import load_process
from softlaunch.core import verify_specs
from softlaunch.core.load import verdict
from softlaunch.ports import loads

pytestmark = pytest.mark.slow

FREEZE = (0.5, 0.8)
LOAD = verify_specs.LoadSpec(
    rate=200.0, duration_seconds=2.0, latency_ms_p99_max=100.0, arrivals=verify_specs.Arrivals.CONSTANT
)
"""400 requests, of which 60 meet the freeze; the slowest 1 % are the four of its first 20 ms."""
REQUEST = loads.Request(path="/predict", headers={"x-softlaunch-arm": "shadow"}, body=b'{"x": 1}')


@pytest.fixture
def place() -> Iterator[pathlib.Path]:
    """A path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="sl-load-") as name:
        yield pathlib.Path(name)


def job(*sockets: str, load: verify_specs.LoadSpec = LOAD, timeout_seconds: float = 2.0) -> loads.Job:
    return loads.Job(sockets=sockets, requests=[REQUEST], load=load, seed=1, timeout_seconds=timeout_seconds)


def finished(run: loads.Run) -> Mapping[str, Any]:
    until = time.monotonic() + 30
    while (found := run.result()) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert found["planned"] == found["sent"] + found["late"] + found["dropped"]
    return found


def sent(place: pathlib.Path, server: freezing_server.FreezingServer, **how: Any) -> Mapping[str, Any]:
    with freezing_server.serving(server, place / "s.sock") as socket:
        return finished(load_process.LoadProcesses(place / "load.log").start(job(socket, **how)))


def test_a_freeze_shows_in_the_p99(place) -> None:
    for _ in range(5):  # a sender without time says so, and is asked once more
        server = freezing_server.FreezingServer(freeze=FREEZE)
        found = sent(place, server)
        if verdict.judge(LOAD, found).verdict is not verdict.Verdict.INVALID:
            break

    truth = 1e3 * sorted(server.latencies)[395]
    assert truth >= 270  # the fifth slowest came at most 25 ms after the freeze began
    assert truth == pytest.approx(found["latency_ms"]["p99"], rel=0.05, abs=5.0)
    assert (400, 400, 0, {}) == (found["planned"], server.request_count, found["dropped"], found["errors"])
    assert verdict.judge(LOAD, found).verdict is verdict.Verdict.FAIL
    assert {b"POST /predict HTTP/1.1"} == {head.partition(b"\r\n")[0] for head in server.heads}
    assert all(b"x-softlaunch-arm: shadow" in head for head in server.heads)


def test_too_few_connections_show_as_lateness_and_not_as_a_fast_server(place) -> None:
    few = dataclasses.replace(LOAD, connection_count_max=2)

    found = sent(place, freezing_server.FreezingServer(freeze=FREEZE), load=few)

    # 60 requests met the freeze, and two of them had a connection.
    assert found["late_by"]["connections"] >= 40
    assert found["latency_ms"]["p99"] >= 250
    assert found["latency_ms_from_send"]["p99"] < found["latency_ms"]["p99"]
    assert verdict.judge(few, found).verdict is verdict.Verdict.INVALID


def test_what_never_gets_a_connection_is_dropped_and_counted(place) -> None:
    slow = freezing_server.FreezingServer(answer_seconds=0.3)
    one = dataclasses.replace(LOAD, connection_count_max=1, duration_seconds=1.0)

    found = sent(place, slow, load=one, timeout_seconds=0.5)

    assert 200 == found["planned"]
    assert found["dropped"] > 150
    assert found["sent"] + found["late"] == slow.request_count
    assert verdict.judge(one, found).verdict is verdict.Verdict.FAIL  # 300 ms from the actual start on


def test_errors_are_counted_by_kind(place) -> None:
    short = dataclasses.replace(LOAD, duration_seconds=1.0)

    refused = sent(place, freezing_server.FreezingServer(status=500), load=short)
    late = sent(place, freezing_server.FreezingServer(answer_seconds=1.0), load=short, timeout_seconds=0.2)
    absent = finished(load_process.LoadProcesses(place / "load.log").start(job(str(place / "none"), load=short)))

    assert {"status 500": 200} == refused["errors"]
    assert {"no answer: timeout"} == set(late["errors"])
    assert {"no connection: FileNotFoundError": 200} == absent["errors"]


def test_replicas_are_asked_in_turn(place) -> None:
    one, two = freezing_server.FreezingServer(), freezing_server.FreezingServer()
    short = dataclasses.replace(LOAD, duration_seconds=1.0)

    with (
        freezing_server.serving(one, place / "1.sock") as first,
        freezing_server.serving(two, place / "2.sock") as second,
    ):
        finished(load_process.LoadProcesses(place / "load.log").start(job(first, second, load=short)))

    assert [100, 100] == [one.request_count, two.request_count]


def test_a_sender_that_is_stopped_or_killed_leaves_nothing_and_gives_no_numbers(place) -> None:
    with freezing_server.serving(freezing_server.FreezingServer(), place / "s.sock") as socket:
        stopped, killed = (load_process.LoadProcesses(place / "load.log").start(job(socket)) for _ in range(2))
        stopped.stop()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(killed.pid).kill()
        with pytest.raises(errors.UnavailableError) as told:
            finished(killed)

    assert not psutil.pid_exists(stopped.pid)
    assert errors.Code.LOAD_TEST_FAILED is told.value.code
