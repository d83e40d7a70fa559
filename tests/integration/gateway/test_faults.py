"""A bad candidate is invisible to users, and what they do meet is marked."""

from __future__ import annotations

import threading
import time

import gateway_bench
import pytest

from softlaunch.core import attempts

STABLE, CANDIDATE = gateway_bench.STABLE.short, gateway_bench.CANDIDATE.short


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("503", attempts.Outcome.ERROR),
        ("reset", attempts.Outcome.ERROR),
        ("garbage", attempts.Outcome.ERROR),
        ("huge", attempts.Outcome.ERROR),
        ("hang", attempts.Outcome.ERROR),
        ("slow", attempts.Outcome.ERROR),
        ("half", attempts.Outcome.ERROR),
        ("invalid", attempts.Outcome.INVALID),
        ("invalid-200", attempts.Outcome.INVALID),
        ("422", attempts.Outcome.CLIENT_ERROR),
        ("404", attempts.Outcome.CLIENT_ERROR),
    ],
)
def test_no_user_sees_a_candidate_fail(bench: gateway_bench.Bench, fault: str, outcome: attempts.Outcome) -> None:
    hangs = fault in {"hang", "slow"}
    bench.apply(try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS if hangs else gateway_bench.TRY_SECONDS)
    bench.candidate.fault = fault
    answers = bench.send(1500, connections=64)
    logged = bench.attempts(at_least=1500)

    tried = [attempt for attempt in logged if attempt.release == CANDIDATE]
    assert [] == gateway_bench.failed(answers)
    assert 650 < len(tried) == bench.candidate.attempts
    assert len({attempt.request_id for attempt in tried}) == len(tried)
    bad = [attempt for attempt in tried if attempts.outcome(attempt) is outcome]
    assert len(bad) == (len(tried) // 2 + len(tried) % 2 if fault == "half" else len(tried))
    assert max(answer.seconds for answer in answers) < 2.0


def test_a_candidate_killed_under_load_is_invisible(bench: gateway_bench.Bench) -> None:
    bench.apply()
    killer = threading.Timer(0.2, bench.candidate.kill)
    killer.start()
    answers = bench.send(2000)
    killer.join()

    assert [] == gateway_bench.failed(answers)


def test_a_failing_candidate_and_a_dead_stable_replica_together_are_invisible(bench: gateway_bench.Bench) -> None:
    bench.apply()
    bench.candidate.fault = "503"
    killer = threading.Timer(0.2, bench.stable[1].kill)
    killer.start()
    answers = bench.send(2000)
    killer.join()

    assert [] == gateway_bench.failed(answers)


def test_without_a_rollout_a_failing_stable_replica_is_invisible(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    bench.stable[0].fault = "503"

    assert [] == gateway_bench.failed(bench.send(1000))


def test_a_bad_request_gets_the_answer_of_stable_and_stable_is_asked_once(bench: gateway_bench.Bench) -> None:
    bench.apply()
    for server in [*bench.stable, bench.candidate]:
        server.fault = "422"
    answers = bench.send(400)

    assert {422} == {answer.status for answer in answers}
    assert {STABLE} == set(gateway_bench.served_by(answers))
    assert 400 == sum(server.attempts for server in bench.stable)


def test_without_a_rollout_a_bad_request_is_asked_once(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    for server in bench.stable:
        server.fault = "404"
    bench.send(100)

    assert 100 == sum(server.attempts for server in bench.stable)


def test_shed_answers_are_neither_retried_nor_replaced_and_blow_no_fuse(bench: gateway_bench.Bench) -> None:
    bench.apply(fuse_enabled=True, fuse_failures=3)
    for server in [*bench.stable, bench.candidate]:
        server.fault = "shed"
    answers = bench.send(400)
    logged = bench.attempts(at_least=400)

    assert {503} == {answer.status for answer in answers}
    assert {"7"} == {answer.headers.get("retry-after") for answer in answers}
    assert 400 == len(logged) == sum(server.attempts for server in [*bench.stable, bench.candidate])
    assert {attempts.Outcome.SHED} == {attempts.outcome(attempt) for attempt in logged}
    assert frozenset() == bench.gateway.ejected()


def test_when_all_fail_predictions_get_a_marked_fallback_and_nothing_else_does(bench: gateway_bench.Bench) -> None:
    bench.apply()
    for server in [*bench.stable, bench.candidate]:
        server.fault = "invalid-200"
    invalid = bench.send(50)
    for server in [*bench.stable, bench.candidate]:
        server.kill()
    dead = [*bench.send(50), *bench.send(50, path="/v2/models/flights/infer")]
    others = [*bench.send(50, path="/v2/health/ready", method="GET", body=b""), *bench.send(5, method="GET", body=b"")]

    for answer in [*invalid, *dead]:
        assert (200, "body", gateway_bench.FALLBACK) == (
            answer.status,
            answer.headers["x-softlaunch-fallback"],
            answer.body,
        )
    assert {(503, None)} == {(answer.status, answer.headers.get("x-softlaunch-fallback")) for answer in others}
    assert others[0].body.startswith(b'{"error":"')


def test_without_a_fallback_the_failure_is_told(bench: gateway_bench.Bench) -> None:
    bench.apply(fallback_body=None)
    for server in [*bench.stable, bench.candidate]:
        server.fault = "503"

    assert {503} == {answer.status for answer in bench.send(20)}


def test_what_is_no_prediction_is_sent_once_even_if_the_candidate_fails(bench: gateway_bench.Bench) -> None:
    bench.apply()
    bench.candidate.fault = "503"
    answers = bench.send(400, path="/orders")
    failed = gateway_bench.failed(answers)

    assert 400 == bench.candidate.paths["/orders"] + sum(server.paths["/orders"] for server in bench.stable)
    assert len(failed) == bench.candidate.paths["/orders"] > 100
    assert {CANDIDATE} == set(gateway_bench.served_by(failed))


def test_what_could_not_be_sent_at_all_goes_to_another_replica(bench: gateway_bench.Bench) -> None:
    bench.apply()
    bench.candidate.kill()
    bench.stable[0].kill()
    bench.send(64)  # connections that were open are found closed
    answers = bench.send(400, path="/orders")

    assert [] == gateway_bench.failed(answers)
    assert 400 == bench.stable[1].paths["/orders"]


def test_the_fuse_stops_a_candidate_without_a_controller(bench: gateway_bench.Bench) -> None:
    bench.apply(fuse_enabled=True, fuse_failures=5)
    bench.candidate.fault = "503"
    answers = bench.send(1000, connections=8)
    tried = bench.candidate.attempts
    blown = bench.gateway.ejected()
    others = bench.send(200, path="/orders")

    assert [] == gateway_bench.failed(answers)
    assert [] == gateway_bench.failed(others)
    assert 5 <= tried <= 5 + 8
    assert tried == bench.candidate.attempts
    assert {bench.candidate.socket} == blown


def test_a_new_rollout_of_the_same_release_has_a_new_fuse(bench: gateway_bench.Bench) -> None:
    bench.apply(fuse_enabled=True, fuse_failures=2)
    bench.candidate.fault = "invalid"
    bench.send(100)
    assert bench.gateway.ejected()

    bench.apply(fuse_enabled=True, fuse_failures=2)

    assert gateway_bench.served_by(bench.send(200))[CANDIDATE] > 50


def test_an_answer_after_the_request_timeout_is_a_fallback(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, request_timeout_seconds=0.1)
    for server in bench.stable:
        server.fault = "slow"
    began = time.monotonic()
    answers = bench.send(8)

    assert {"body"} == {answer.headers.get("x-softlaunch-fallback") for answer in answers}
    assert time.monotonic() - began < 1.0
