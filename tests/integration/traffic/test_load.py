"""The load client against a small server on a Unix socket whose behaviour each path names."""

from __future__ import annotations

import asyncio
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from softlaunch.testing import arrivals, outcomes, traffic

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
ANSWERS = {
    "/ok": OK,
    "/busy": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    "/fallback": b"HTTP/1.1 200 OK\r\nx-softlaunch-fallback: 1\r\ncontent-length: 2\r\n\r\n{}",
    "/nonsense": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull",
    "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "/last": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    "/until-closed": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "/garbage": b"garbage\r\n\r\n",
}


class Server:
    """Reads whole requests; `/stall` holds every connection for a while, `/never` does not answer, `/reset` closes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.connection_count = 0
        self._stalled_until = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        loop = asyncio.get_running_loop()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        self.bodies.append(await reader.readexactly(length))
        self.seen.append(path)
        if path == "/stall":
            self._stalled_until = loop.time() + 0.3
        if path == "/never":
            await asyncio.sleep(60)
        await asyncio.sleep(max(0.0, self._stalled_until - loop.time()))
        if path == "/reset":
            return False
        writer.write(ANSWERS.get(path, OK))
        await writer.drain()
        return path not in ("/last", "/until-closed", "/garbage")


@pytest.fixture
def socket_path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="sl-") as folder:
        yield str(pathlib.Path(folder) / "s.sock")


def play(path: str, work: Callable[[Server], Any]) -> tuple[Any, Server]:
    """Runs the work against a server that lives as long."""

    async def both() -> tuple[Any, Server]:
        server = Server(path)
        # Room for all that a load opens before this loop has its turn: on Unix sockets a full queue refuses.
        listening = await asyncio.start_unix_server(server.serve, path, backlog=256)
        try:
            return await work(server), server
        finally:
            listening.close()

    return traffic.run(both())


def load(path: str, *paths: str, **options: Any) -> traffic.Load:
    requests = [traffic.Request(path=each, body=b'{"n": 1}') for each in paths]
    check = outcomes.Check(valid=lambda answer: answer.body == b"{}")
    return traffic.Load(traffic.Target(socket=path), requests, check=check, **options)


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/ok", outcomes.Outcome.OK),
        ("/chunked", outcomes.Outcome.OK),
        ("/last", outcomes.Outcome.OK),
        ("/until-closed", outcomes.Outcome.OK),
        ("/busy", outcomes.Outcome.STATUS),
        ("/fallback", outcomes.Outcome.FALLBACK),
        ("/nonsense", outcomes.Outcome.BODY),
        ("/reset", outcomes.Outcome.BROKEN),
        ("/garbage", outcomes.Outcome.BROKEN),
        ("/never", outcomes.Outcome.BROKEN),
    ],
)
def test_every_request_has_one_outcome(socket_path: str, path: str, outcome: outcomes.Outcome) -> None:
    run = load(socket_path, *[path] * 10, timeout_seconds=0.2)

    report, server = play(socket_path, lambda _: run.run_open(arrivals.steady(500.0)))

    assert {**dict.fromkeys(outcomes.Outcome, 0), outcome: 10} == report.outcomes
    assert (10, 10, 0) == (report.planned, report.sent, report.dropped)
    assert [path] * 10 == server.seen
    assert [b'{"n": 1}'] * 10 == server.bodies


def test_a_stall_is_charged_to_everybody_who_had_to_wait(socket_path: str) -> None:
    run = load(socket_path, "/stall", *["/ok"] * 99, connection_count_max=4)

    report, _ = play(socket_path, lambda _: run.run_open(arrivals.steady(200.0)))

    # 200 a second meet a stall of 0.3 s: about 60 requests wait, the first nearly all of it.
    assert report.outcomes[outcomes.Outcome.OK] == 100
    assert 0.29 < report.quantile(1.0) < 0.6
    assert sum(1 for latency in report.latencies if latency > 0.01) >= 50


def test_what_finds_no_connection_in_time_is_dropped_and_counted(socket_path: str) -> None:
    run = load(socket_path, "/never", *["/ok"] * 9, connection_count_max=1, timeout_seconds=0.2)

    report, server = play(socket_path, lambda _: run.run_open(arrivals.steady(1000.0)))

    assert report.planned == 10
    assert report.sent + report.dropped == 10
    assert report.failed + report.outcomes[outcomes.Outcome.OK] == 10
    assert len(server.seen) == report.sent


def test_connections_are_kept(socket_path: str) -> None:
    run = load(socket_path, *["/ok"] * 200, connection_count_max=3)

    report, server = play(socket_path, lambda _: run.run_open(arrivals.steady(2000.0)))

    assert report.outcomes[outcomes.Outcome.OK] == 200
    assert server.connection_count <= 3


def test_nobody_listening_breaks_every_request(socket_path: str) -> None:
    run = load(socket_path + ".none", *["/ok"] * 20)

    report = traffic.run(run.run_open(arrivals.steady(1000.0)))

    assert report.outcomes[outcomes.Outcome.BROKEN] == 20
    assert report.sent == 20
    assert {"connect: FileNotFoundError": 20} == report.details


def test_a_closed_loop_sends_as_many_as_asked(socket_path: str) -> None:
    run = load(socket_path, *["/ok"] * 500)

    report, server = play(socket_path, lambda _: run.run_closed(concurrency=5, count=120))

    assert (120, 120) == (report.planned, report.outcomes[outcomes.Outcome.OK])
    assert server.connection_count == 5


def test_a_closed_loop_goes_on_after_broken_connections(socket_path: str) -> None:
    run = load(socket_path, *["/ok", "/reset"] * 50)

    report, _ = play(socket_path, lambda _: run.run_closed(concurrency=4, count=100))

    assert (50, 50) == (report.outcomes[outcomes.Outcome.OK], report.outcomes[outcomes.Outcome.BROKEN])


def test_a_closed_loop_ends_when_its_time_is_over(socket_path: str) -> None:
    run = load(socket_path, *["/ok"] * 100_000)

    report, _ = play(socket_path, lambda _: run.run_closed(concurrency=2, duration_seconds=0.1))

    assert report.planned == report.outcomes[outcomes.Outcome.OK] > 0
    assert 0.05 < report.seconds < 2.0


def test_background_traffic_stops_when_left_and_loses_nothing(socket_path: str) -> None:
    async def work(server: Server) -> outcomes.Report:
        def hold() -> outcomes.Report:
            run = load(socket_path, *["/ok"] * 100_000)
            with traffic.Background(run, arrivals.steady(1000.0)) as background:
                while background.load.tally().ok < 50:
                    pass
            return background.report

        return await asyncio.to_thread(hold)

    report, server = play(socket_path, work)

    assert report.failed == 0
    assert len(server.seen) == report.planned >= 50
