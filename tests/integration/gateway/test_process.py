"""Envoy outlives the control plane, is found again, and its death is seen."""

from __future__ import annotations

import os
import pathlib
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator

import gateway_bench
import gateway_client
import msgspec
import psutil
import pytest

from softlaunch import errors


@pytest.fixture
def fresh() -> Iterator[gateway_bench.Bench]:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slg-"))
    bench = gateway_bench.Bench(directory)
    yield bench
    bench.close()
    shutil.rmtree(directory)


def test_a_restarted_control_plane_finds_the_running_envoy(bench: gateway_bench.Bench) -> None:
    bench.apply()
    again = bench.another_gateway()
    again.start()

    assert again.pid == bench.gateway.pid
    assert again.restarts == 0
    again.apply(bench.snapshot(bench.route(weight=10_000)))
    assert [] == gateway_bench.failed(bench.send(50))


def test_envoy_is_found_even_if_its_starter_died_before_writing_down_the_pid(bench: gateway_bench.Bench) -> None:
    pid = bench.gateway.pid
    process = bench.gateway._process
    process.remember(msgspec.structs.replace(process.state, pid=0, started_at=0.0))
    again = bench.another_gateway()
    again.start()

    assert pid == again.pid == again._process.state.pid


def test_a_stranger_with_the_remembered_pid_is_not_taken_for_envoy(fresh: gateway_bench.Bench) -> None:
    process = fresh.gateway._process
    process.remember(msgspec.structs.replace(process.state, instance="token", pid=os.getpid()))

    assert fresh.gateway.pid is None
    fresh.gateway.stop()
    fresh.gateway.start()
    assert fresh.gateway.pid not in {None, os.getpid()}


def test_a_killed_envoy_is_started_again_with_its_routes_and_leaves_a_gap(fresh: gateway_bench.Bench) -> None:
    fresh.gateway.start()
    fresh.apply()
    fresh.send(100)
    before = {attempt.request_id for attempt in fresh.attempts(at_least=100)}
    pid = fresh.gateway.pid
    assert pid is not None
    assert not fresh.gateway.ensure_running()
    psutil.Process(pid).send_signal(signal.SIGKILL)
    while psutil.pid_exists(pid) and fresh.gateway.pid is not None:
        time.sleep(0.01)

    assert fresh.gateway.ensure_running()
    assert fresh.gateway.restarts == 1
    assert [] == gateway_bench.failed(fresh.send(100))
    told = fresh.gateway.read_attempts(fresh.cursor)
    assert told.gap is not None
    assert told.gap.startswith("Envoy died")
    fresh.cursor = told.cursor
    # Requests, not attempts: on a busy machine Envoy asks again when a try takes long, and logs both.
    after = {attempt.request_id for attempt in [*told.attempts, *fresh.attempts(at_least=100 - len(told.attempts))]}
    assert (100, 100) == (len(before), len(after))


def test_without_envoy_a_change_is_an_error_that_says_so(fresh: gateway_bench.Bench) -> None:
    with pytest.raises(errors.UnavailableError, match="does not answer"):
        fresh.gateway.apply(fresh.snapshot(fresh.route()))


@pytest.mark.parametrize(
    ("binary", "words"),
    [("/nowhere/envoy", "cannot be started"), ("/bin/false", "ready. It ended. It printed last:\nnothing")],
)
def test_an_envoy_that_cannot_start_is_an_error_that_says_so(
    fresh: gateway_bench.Bench, binary: str, words: str
) -> None:
    fresh.gateway = fresh.another_gateway(binary=pathlib.Path(binary))
    with pytest.raises(errors.UnavailableError, match=words):
        fresh.gateway.start()
    assert fresh.gateway.pid is None

    fresh.gateway = fresh.another_gateway()
    fresh.gateway.start()
    assert fresh.gateway.restarts == 0


def test_stopping_lets_requests_in_flight_end(fresh: gateway_bench.Bench) -> None:
    fresh.gateway.start()
    fresh.apply(rollout=False)
    for server in fresh.stable:
        server.fault = "slow"
    answers: list[gateway_client.Answer] = []
    client = threading.Thread(target=lambda: answers.extend(fresh.send(8)))
    client.start()
    time.sleep(0.1)
    fresh.gateway.stop(drain_seconds=5.0)
    client.join()

    assert [] == gateway_bench.failed(answers)
    assert fresh.gateway.pid is None
    fresh.gateway.stop()


def test_rotation_under_load_loses_and_repeats_nothing(fresh: gateway_bench.Bench) -> None:
    fresh.gateway = fresh.another_gateway(log_budget_bytes=8 * 40_000)
    fresh.gateway.start()
    fresh.apply()
    fresh.candidate.fault = "half"
    client = threading.Thread(target=lambda: fresh.send(4000))
    client.start()
    seen: list[str] = []
    rotated = 0
    idle = 0
    while client.is_alive() or idle < 5:
        time.sleep(0.02)
        batch = fresh.gateway.read_attempts(fresh.cursor, line_count_max=500)
        assert batch.gap is None
        seen.extend(f"{attempt.request_id}/{attempt.started_at}/{attempt.release}" for attempt in batch.attempts)
        fresh.cursor = batch.cursor
        rotated = max(rotated, *(file.number for file in fresh.gateway._log._files()))
        fresh.gateway.release_log(batch.cursor)
        idle = 0 if batch.attempts else idle + 1

    served = sum(server.attempts for server in [*fresh.stable, fresh.candidate])
    assert served == len(seen) == len(set(seen))
    assert rotated > 5
    assert len(list((fresh.directory / "gateway").glob("attempts.log*"))) <= 3


def test_failed_writes_of_the_log_are_told_once(fresh: gateway_bench.Bench) -> None:
    """A full disk without one: the count of failures already told is set back instead."""
    fresh.gateway.start()
    fresh.apply()
    fresh.send(10)
    fresh.attempts(at_least=10)
    process = fresh.gateway._process
    process.remember(msgspec.structs.replace(process.state, log_failures=-3))
    again = fresh.another_gateway()
    told = again.read_attempts(fresh.cursor)
    after = again.read_attempts(told.cursor)

    assert told.gap == "disk full: Envoy could not write to the attempt log 3 times"
    assert after.gap is None
    assert process.state.log_failures == 0


def test_envoy_may_open_as_many_files_as_the_system_allows(fresh: gateway_bench.Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    try:
        fresh.gateway.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (hard, hard) == psutil.Process(fresh.gateway.pid).rlimit(psutil.RLIMIT_NOFILE)
