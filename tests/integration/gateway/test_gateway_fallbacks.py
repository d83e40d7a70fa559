"""When every release failed, the fallbacks are asked in their order; each answer is marked and counted."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import gateway_bench
import gateway_client
import gateway_faults
import pytest

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import first_attempts, traffic

STABLE, CANDIDATE = gateway_bench.STABLE.short, gateway_bench.CANDIDATE.short
PLACE = ("flights", "production")


@pytest.fixture
def table(bench: gateway_bench.Bench) -> Iterator[gateway_faults.Server]:
    server = bench.fallback_server("table")
    yield server
    server.kill()


@pytest.fixture
def python(bench: gateway_bench.Bench) -> Iterator[gateway_faults.Server]:
    server = bench.fallback_server("python")
    yield server
    server.kill()


def arms(*servers: gateway_faults.Server) -> tuple[traffic.FallbackArm, ...]:
    kinds = (spec.FallbackKind.TABLE, spec.FallbackKind.PYTHON)
    return tuple(
        traffic.FallbackArm(kind=kind, addresses=(server.socket,)) for kind, server in zip(kinds, servers, strict=False)
    )


def marks(answers: list[gateway_client.Answer]) -> collections.Counter[tuple[int, str | None]]:
    return collections.Counter((answer.status, answer.headers.get("x-softlaunch-fallback")) for answer in answers)


def releases(bench: gateway_bench.Bench) -> list[gateway_faults.Server]:
    return [*bench.stable, bench.candidate]


@pytest.mark.parametrize("rollout", [True, False])
@pytest.mark.parametrize("fault", ["killed", "503", "reset", "invalid", "invalid-200", "hang"])
def test_when_every_release_fails_each_prediction_is_the_fallbacks(
    bench: gateway_bench.Bench, table: gateway_faults.Server, fault: str, *, rollout: bool
) -> None:
    bench.apply(
        rollout=rollout,
        fallbacks=arms(table),
        request_timeout_seconds=1.0,
        try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS,
    )
    for server in releases(bench):
        if fault == "killed":
            server.kill()
        else:
            server.fault = fault
    body = b'{"rows":[{"x":1}]}'
    answers = [
        *bench.send(100, connections=100, body=body),
        *bench.send(100, connections=100, path="/v2/models/m/infer"),
    ]
    bench.attempts(at_least=200)

    assert {(200, "table"): 200} == marks(answers)
    assert {PLACE: 200} == bench.fallbacks
    assert 100 == table.bodies.count(body)
    assert 200 == table.attempts


def test_a_fallback_that_fails_or_does_not_know_is_followed_by_the_next_and_the_last_is_the_body(
    bench: gateway_bench.Bench, table: gateway_faults.Server, python: gateway_faults.Server
) -> None:
    bench.apply(fallbacks=arms(table, python))
    for server in releases(bench):
        server.kill()
    seen = []
    for fault_of_table, fault_of_python in [("503", "ok"), ("404", "ok"), ("422", "404"), ("reset", "reset")]:
        table.fault, python.fault = fault_of_table, fault_of_python
        seen.append(marks(bench.send(50)))
    table.kill()
    python.kill()
    seen.append(marks(bench.send(50)))
    bench.attempts()

    assert [{(200, kind): 50} for kind in ("python", "python", "body", "body", "body")] == seen
    assert {PLACE: 250} == bench.fallbacks


def test_overload_bad_requests_and_other_paths_keep_their_own_status(
    bench: gateway_bench.Bench, table: gateway_faults.Server
) -> None:
    bench.apply(fallbacks=arms(table))
    for server in releases(bench):
        server.fault = "shed"
    shed = bench.send(100)
    for server in releases(bench):
        server.fault = "422"
    bad = bench.send(100)
    for server in releases(bench):
        server.kill()
    others = [*bench.send(100, path="/orders"), *bench.send(20, method="GET", body=b"")]
    bench.attempts()

    assert [{(503, None): 100}, {(422, None): 100}, {(503, None): 120}] == [marks(shed), marks(bad), marks(others)]
    assert {} == bench.fallbacks
    assert 0 == table.attempts


def test_no_user_sees_a_fallback_while_one_release_answers(
    bench: gateway_bench.Bench, table: gateway_faults.Server
) -> None:
    bench.apply(fallbacks=arms(table), try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS)
    for fault in ("503", "reset", "hang", "422", "half"):
        bench.candidate.fault = fault
        assert [] == gateway_bench.failed(bench.send(300))
    bench.stable[0].kill()
    bench.candidate.fault = "503"
    assert [] == gateway_bench.failed(bench.send(300))
    assert 0 == table.attempts


def test_slow_releases_answer_themselves(bench: gateway_bench.Bench, table: gateway_faults.Server) -> None:
    bench.apply(fallbacks=arms(table), request_timeout_seconds=5.0, try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS)
    for server in releases(bench):
        server.fault = "slow"

    assert [] == gateway_bench.failed(bench.send(100, connections=100))
    assert 0 == table.attempts


def test_the_judge_never_takes_a_fallbacks_answer_for_a_releases(
    bench: gateway_bench.Bench, table: gateway_faults.Server
) -> None:
    bench.apply(fallbacks=arms(table))
    for server in releases(bench):
        server.kill()
    bench.send(200)
    logged = bench.attempts(at_least=400)
    firsts = first_attempts.FirstAttempts(stable=STABLE, candidate=CANDIDATE, wait_seconds=0.0)
    found = [first for attempt in logged if (first := firsts.admit(attempt)) is not None]
    found.extend(firsts.overdue(1e12))
    answered = [attempt for attempt in logged if attempt.status == 200]

    assert 200 == len(answered)
    assert {("fallback", "fallback-table.sock")} == {(attempt.release, attempt.replica) for attempt in answered}
    assert {attempts.Outcome.ERROR} == {attempts.outcome(first) for first in found}
    assert {STABLE, CANDIDATE} == {first.release for first in found}


def test_a_release_cannot_mark_its_answer_as_a_fallbacks(
    bench: gateway_bench.Bench, table: gateway_faults.Server
) -> None:
    for fallbacks in ((), arms(table)):
        bench.apply(fallbacks=fallbacks)
        for server in releases(bench):
            server.answer_headers = "x-softlaunch-fallback: table"
        answers = [*bench.send(100), *bench.send(20, path="/orders")]
        bench.attempts(at_least=120)

        assert [] == gateway_bench.failed(answers)
        assert {} == bench.fallbacks


def test_with_a_blown_fuse_what_is_no_prediction_still_never_reaches_a_fallback(
    bench: gateway_bench.Bench, table: gateway_faults.Server
) -> None:
    bench.apply(fallbacks=arms(table), fuse_enabled=True, fuse_failures=2)
    bench.candidate.fault = "503"
    bench.send(100)
    assert {bench.candidate.socket} == bench.gateway.ejected()
    for server in releases(bench):
        server.kill()
    others = bench.send(100, path="/orders")

    assert {(503, None): 100} == marks(others)
    assert 0 == table.attempts
    assert {(200, "table"): 100} == marks(bench.send(100))
