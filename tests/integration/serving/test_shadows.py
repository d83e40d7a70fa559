"""Real model servers, real segments: every copy finds its original, and a replay tells good releases from bad ones."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.local import isolated, launch, replay_sender
from softlaunch.adapters.spool import local
from softlaunch.controller import replay
from softlaunch.core import release, spec, spool
from softlaunch.core.rollout import messages
from softlaunch.core.shadow import agreement, pairing, summary
from softlaunch.ports import fleet, sender
from softlaunch.ports import spool as port

STABLE, CANDIDATE = "a" * 12, "b" * 12
REQUESTS = 1_500
STRATEGY = spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(10_000))
FAILING = """
    class Model:
        calls = 0

        def predict(self, rows):
            Model.calls += 1
            if Model.calls > 1:
                raise ValueError("broken")
            return [1.0 for row in rows]
"""


def ask_both(stable: Any, candidate: Any) -> None:
    """As the gateway does: the copy carries the same id, and nobody waits for it."""

    def ask(number: int) -> None:
        body = {"x": number, "y": 1}
        for server, mark in ((stable, {"x-softlaunch-arm": "mirrored"}), (candidate, {"x-softlaunch-arm": "shadow"})):
            answer = clients[server.socket].post("/predict", json=body, headers={"x-request-id": f"r{number}", **mark})
            assert answer.status_code == 200

    clients = {server.socket: server.client() for server in (stable, candidate)}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(REQUESTS)))
    for client in clients.values():
        client.close()


@pytest.fixture
def recorded(serve: Callable[..., Any], releases: Any, tmp_path: pathlib.Path) -> local.LocalSpool:
    options = ("--spool", str(tmp_path / "spool" / "toy" / "production"), "--capture-percent", "0")
    stable = serve(releases.onnx(digit="a"), *options, name=f"{STABLE}.sock").wait_ready()
    candidate = serve(releases.onnx(digit="b"), *options, name=f"{CANDIDATE}.sock").wait_ready()
    ask_both(stable, candidate)
    time.sleep(0.15)  # flushed every 50 ms
    return local.LocalSpool(tmp_path / "spool")


@pytest.mark.slow
def test_every_copy_finds_its_original(recorded: local.LocalSpool) -> None:
    place = pairing.Place(service="toy", environment="production", stable=STABLE, candidate=CANDIDATE, epoch=3)
    pairs = pairing.Pairing(place, rule=agreement.Rule(), request_timeout_seconds=5.0)
    total = summary.Summary()
    cursor = port.Cursor()
    while True:
        batch = recorded.read("toy", "production", cursor, record_count_max=100)
        cursor = batch.cursor
        for record in batch.records:
            pair = pairs.add(record)
            if pair is not None:
                total.add(pair)
        if not batch.records:
            break

    report = total.report()
    assert (REQUESTS, REQUESTS, 0) == (report.pair_count, report.joined_count, pairs.pending_count)
    assert 1.0 == report.agreement_rate == report.joined_share
    assert {"ok": (REQUESTS, REQUESTS)} == report.outcomes
    assert sum(found.counts[0] for found in report.outputs) == REQUESTS


@pytest.fixture
def candidates(place: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Callable[..., list[str]]]:
    """Replicas in a fleet of their own, by release directory."""
    directories: dict[str, pathlib.Path] = {}

    def launcher(wanted: fleet.ReplicaSpec) -> launch.Launch:
        return launch.Launch(
            python=pathlib.Path(sys.executable),
            release_directory=directories[wanted.release.short],
            arguments=("--tell-service-time",),
        )

    with isolated.isolated_fleet(run_dir=place / "r", logs_dir=tmp_path / "logs", launcher=launcher) as found:

        def start(directory: pathlib.Path) -> list[str]:
            digest = release.Digest(f"sha256:{directory.name}")
            directories[digest.short] = directory
            specs = [
                fleet.ReplicaSpec(
                    name=f"toy/production/{digest.short}/{number}",
                    service="toy",
                    environment="production",
                    release=digest,
                    number=number,
                )
                for number in range(2)
            ]
            return replay.candidate_sockets(found, specs, clock=local_clock.SystemClock())

        yield start


def test_two_replays_do_not_share_their_processes(place: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def launcher(wanted: fleet.ReplicaSpec) -> launch.Launch:
        raise AssertionError(wanted)

    def alone() -> contextlib.AbstractContextManager[object]:
        return isolated.isolated_fleet(run_dir=place / "r", logs_dir=tmp_path / "logs", launcher=launcher)

    with alone():
        with pytest.raises(errors.ConflictError) as refused, alone():
            pass
        assert errors.Code.REPLAY_RUNS is refused.value.code
    with alone():
        pass


def test_a_replica_that_does_not_answer_is_told_of_once(place: pathlib.Path) -> None:
    record = spool.Record(
        "r1", 1.0, STABLE, "one", spool.PRIMARY, False, "/predict", "", b"{}", 200, b"{}", False, False, 1, None, "", 1,
        "", 0, 0, 0,
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place / "silent.sock"))
        silent.listen()
        for name in ("silent.sock", "absent.sock"):
            to = replay_sender.SocketSender([str(place / name)], release=CANDIDATE, timeout_seconds=0.2)
            to.send(record)
            found: list[sender.Sent] = []
            deadline = time.monotonic() + 10
            while not found and time.monotonic() < deadline:
                time.sleep(0.02)
                found += to.collect()
            to.close()
            assert [sender.Sent(request_id="r1", answer=None)] == found


def replayed(recorded: local.LocalSpool, sockets: list[str], candidate: str) -> replay.ReplayReport:
    plan = replay.Plan(
        service="toy", environment="production", stable=STABLE, candidate=candidate, strategy=STRATEGY, rate=2.0
    )
    to = replay_sender.SocketSender(sockets, release=candidate, timeout_seconds=5.0, thread_count=16)
    try:
        records = recorded.scan("toy", "production", since=time.time() - 3_600, until=time.time())
        return replay.run(plan, records, to=to, clock=local_clock.SystemClock())
    finally:
        to.close()


@pytest.mark.slow
def test_a_replay_passes_an_equal_release_and_fails_a_broken_one(
    recorded: local.LocalSpool, releases: Any, candidates: Callable[..., list[str]]
) -> None:
    equal = replayed(recorded, candidates(releases.onnx(digit="d")), "d" * 12)
    broken = replayed(recorded, candidates(releases.python(FAILING, digit="e")), "e" * 12)

    assert messages.Verdict.PASS is equal.verdict, equal.reason
    assert (REQUESTS, 1.0, 1.0) == (equal.sent_count, equal.pairs.joined_share, equal.pairs.agreement_rate)
    assert messages.Verdict.FAIL is broken.verdict
    assert broken.sent_count < 100
    # Copies are not recorded again: the replay changes nothing of what it reads.
    records = recorded.scan("toy", "production", since=0, until=time.time() + 60)
    assert {STABLE, CANDIDATE} == {record.release for record in records}
    assert 1 == len(recorded.find("r7")) - 1
    assert [spool.PRIMARY, spool.SHADOW] == [record.arm for record in recorded.find("r7")]
