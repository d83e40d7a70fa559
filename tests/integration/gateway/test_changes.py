"""Changes under load, refused changes, and what becomes of requests that a change overtakes."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import time

import gateway_bench
import gateway_client
import pytest

from softlaunch import errors
from softlaunch.core.rollout import traffic


def test_no_request_is_dropped_over_fifty_switches(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=0)
    answers: list[gateway_client.Answer] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            answers.extend(bench.send(200, connections=8))

    client = threading.Thread(target=load)
    client.start()
    try:
        for number in range(50):
            weight = (0, 100, 5000, 10_000)[number % 4]
            rollout = number % 5 != 4
            bench.gateway.apply(bench.snapshot(bench.route(weight=weight, rollout=rollout)))
    finally:
        done.set()
        client.join()

    assert [] == gateway_bench.failed(answers)
    assert len(answers) > 200
    assert bench.candidate.attempts > 0


def test_a_hedge_of_a_request_that_was_routed_before_the_rollback_still_finds_stable(
    bench: gateway_bench.Bench,
) -> None:
    bench.apply(weight=10_000, try_timeout_seconds=0.4)
    bench.candidate.fault = "hang"
    answers: list[gateway_client.Answer] = []
    client = threading.Thread(target=lambda: answers.extend(bench.send(16)))
    client.start()
    time.sleep(0.15)
    bench.gateway.apply(bench.snapshot(bench.route(rollout=False)))
    client.join()

    assert [] == gateway_bench.failed(answers)
    assert bench.candidate.attempts == 16


def test_a_change_is_effective_at_once(bench: gateway_bench.Bench) -> None:
    bench.apply()
    late = []
    for number in range(20):
        bench.gateway.apply(bench.snapshot(bench.route(weight=10_000 * (number % 2))))
        expected = {(gateway_bench.STABLE, gateway_bench.CANDIDATE)[number % 2].short}
        began = time.monotonic()
        # Envoy's workers hear of it from its main thread: within the millisecond, unless the machine is starved.
        while set(gateway_bench.served_by(bench.send(8))) != expected:
            assert time.monotonic() - began < 1.0
        late.append(time.monotonic() - began)

    assert sorted(late)[10] < 0.1


def test_the_same_snapshot_again_touches_no_file(bench: gateway_bench.Bench) -> None:
    snapshot = bench.snapshot(bench.route())
    bench.gateway.apply(snapshot)
    files = [path for path in (bench.directory / "gateway").glob("*.json") if path.name != "envoy.json"]
    before = {path: path.stat().st_ino for path in files}
    bench.another_gateway().apply(snapshot)

    assert before == {path: path.stat().st_ino for path in files}


def test_unused_clusters_leave_after_a_while(bench: gateway_bench.Bench) -> None:
    bench.apply()
    snapshot = bench.snapshot(bench.route(rollout=False))
    bench.gateway.apply(snapshot)
    lingering = (bench.directory / "gateway" / "clusters.json").read_text()
    bench.gateway._retired = dict.fromkeys(bench.gateway._retired, 0.0)
    bench.gateway.apply(snapshot)
    after = (bench.directory / "gateway" / "clusters.json").read_text()

    assert gateway_bench.CANDIDATE.short in lingering
    assert gateway_bench.CANDIDATE.short not in after


def test_what_envoy_refuses_leaves_everything_as_it_was(bench: gateway_bench.Bench) -> None:
    route = bench.apply()
    directory = bench.directory / "gateway"
    before = {path.name: path.read_bytes() for path in directory.glob("routes-*.json")}
    with pytest.raises(errors.UnavailableError, match="Expected positive duration"):
        bench.gateway.apply(gateway_bench.with_options(bench.snapshot(route), request_timeout_seconds=-1.0))

    assert [] == gateway_bench.failed(bench.send(100))
    assert before == {path.name: path.read_bytes() for path in directory.glob("routes-*.json")}
    bench.apply(weight=10_000)
    assert {gateway_bench.CANDIDATE.short} == set(gateway_bench.served_by(bench.send(20)))


@pytest.mark.parametrize("probed", [True, False])
def test_a_port_in_use_is_named_and_leaves_everything_as_it_was(
    bench: gateway_bench.Bench, monkeypatch: pytest.MonkeyPatch, *, probed: bool
) -> None:
    route = bench.apply()
    if not probed:  # somebody takes it between the probe and Envoy
        monkeypatch.setattr(bench.gateway, "_require_free_ports", lambda snapshot: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        snapshot = bench.snapshot(route)
        listeners = (*snapshot.listeners, traffic.Listener(environment="integration", port=port))
        with pytest.raises(errors.ConflictError, match=str(port)):
            bench.gateway.apply(dataclasses.replace(snapshot, listeners=listeners))

    assert [] == gateway_bench.failed(bench.send(50))
    bench.gateway.apply(dataclasses.replace(snapshot, listeners=listeners))
    bench.gateway.apply(snapshot)
    assert [] == gateway_bench.failed(bench.send(50))


def test_an_unwritable_directory_is_an_error_and_changes_nothing(
    bench: gateway_bench.Bench,
) -> None:
    bench.apply()
    directory = bench.directory / "gateway"
    blockers = [directory / f".{name}.{os.getpid()}" for name in ("clusters.json", "routes-production.json")]
    for blocker in blockers:
        blocker.mkdir()  # the file written beside it cannot be opened
    try:
        with pytest.raises(errors.UnavailableError, match="cannot be written"):
            bench.apply(weight=1)
    finally:
        for blocker in blockers:
            blocker.rmdir()

    assert [] == gateway_bench.failed(bench.send(50))
