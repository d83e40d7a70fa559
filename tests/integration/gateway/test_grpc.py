"""What HTTP clients are protected from, gRPC clients are protected from too."""

from __future__ import annotations

import threading

import gateway_bench
import gateway_grpc
import grpc
import pytest
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import traffic

STABLE, CANDIDATE = gateway_bench.STABLE.short, gateway_bench.CANDIDATE.short
PATH = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("503", attempts.Outcome.ERROR),
        ("reset", attempts.Outcome.ERROR),
        ("garbage", attempts.Outcome.ERROR),
        ("hang", attempts.Outcome.ERROR),
        ("half", attempts.Outcome.ERROR),
        ("invalid", attempts.Outcome.INVALID),
        ("invalid-200", attempts.Outcome.INVALID),
        ("422", attempts.Outcome.CLIENT_ERROR),
        ("404", attempts.Outcome.CLIENT_ERROR),
    ],
)
def test_no_grpc_client_sees_a_candidate_fail(
    bench: gateway_bench.Bench, fault: str, outcome: attempts.Outcome
) -> None:
    hangs = fault == "hang"
    bench.apply(try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS if hangs else gateway_bench.TRY_SECONDS)
    bench.candidate.fault = fault
    replies = gateway_grpc.send(bench, 300)
    logged = bench.attempts(at_least=300)

    tried = [attempt for attempt in logged if attempt.release == CANDIDATE]
    assert [] == gateway_grpc.failed(replies)
    assert 300 == len(replies)
    assert 100 < len(tried) == bench.candidate.attempts
    assert len({attempt.request_id for attempt in tried}) == len(tried)
    bad = [attempt for attempt in tried if attempts.outcome(attempt) is outcome]
    assert len(bad) == (len(tried) // 2 + len(tried) % 2 if fault == "half" else len(tried))


def test_a_candidate_killed_under_grpc_load_is_invisible(bench: gateway_bench.Bench) -> None:
    bench.apply()
    killer = threading.Timer(0.2, bench.candidate.kill)
    killer.start()
    replies = gateway_grpc.send(bench, 1000)
    killer.join()

    assert [] == gateway_grpc.failed(replies)


def test_users_of_grpc_stay_on_the_arm_that_http_has_put_them_on(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=3000)
    over_http = [answer.body.split(b'"')[3].decode() for answer in bench.send(300)]
    over_grpc = [[reply.release for reply in gateway_grpc.send(bench, 300)] for _ in range(2)]

    assert [over_http, over_http] == over_grpc
    assert 50 < over_http.count(CANDIDATE) < 130


def test_without_a_key_the_cookie_that_was_given_keeps_a_grpc_client(bench: gateway_bench.Bench) -> None:
    bench.apply()
    (first,) = gateway_grpc.send(bench, [gateway_grpc.Call()])
    cookie = first.metadata["set-cookie"].partition(";")[0]
    later = gateway_grpc.send(bench, [gateway_grpc.Call(metadata=(("cookie", cookie),))] * 50)

    assert {first.release} == {reply.release for reply in later}


def test_a_grpc_attempt_is_logged_like_one_of_http(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=5000)
    bench.candidate.fault = "503"
    gateway_grpc.send(bench, 200)
    logged = bench.attempts(at_least=200)
    tried = [attempt for attempt in logged if attempt.release == CANDIDATE]
    retried = [attempt for attempt in logged if attempt.release == STABLE and attempt.composite]

    assert {attempt.request_id for attempt in tried} == {attempt.request_id for attempt in retried}
    assert {(503, 1)} == {(attempt.status, attempt.number) for attempt in tried}
    assert 200 == len({attempt.request_id for attempt in logged})
    assert {f"user-{number}" for number in range(200)} == {attempt.key for attempt in logged}
    assert {"n:3"} == {attempt.output for attempt in logged}
    assert {3} == {attempt.input_bytes for attempt in logged}  # the message without its frame


def test_a_shadow_gets_copies_of_grpc_calls(bench: gateway_bench.Bench) -> None:
    shadow = traffic.ShadowRoute(
        candidate=gateway_bench.arm(gateway_bench.CANDIDATE, bench.candidate), weight=10_000, epoch=77
    )
    bench.apply(rollout=False, shadow=shadow)
    replies = gateway_grpc.send(bench, 100)
    bench.attempts(at_least=100)
    originals = [head for server in bench.stable for head in server.heads]

    assert [] == gateway_grpc.failed(replies)
    assert {STABLE} == {reply.release for reply in replies}
    assert 100 == len(bench.copies) == bench.candidate.paths[PATH]
    assert {"application/x-protobuf"} == {head["content-type"] for head in bench.candidate.heads}
    assert {head["x-request-id"] for head in originals} == {head["x-request-id"] for head in bench.candidate.heads}
    assert {"77"} == {head["x-softlaunch-epoch"] for head in bench.candidate.heads}


def test_internal_headers_end_at_the_gateway_and_the_prediction_id_goes_through(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    for server in bench.stable:
        server.answer_headers = (
            "x-softlaunch-out: n:3\r\nx-softlaunch-cpu-us: 7\r\nx-softlaunch-served: 9\r\n"
            "x-softlaunch-prediction-id: abc:0"
        )
    (reply,) = gateway_grpc.send(
        bench, [gateway_grpc.Call(metadata=(("x-softlaunch-epoch", "5"), ("x-softlaunch-arm", "shadow")))]
    )
    (head,) = [head for server in bench.stable for head in server.heads]

    assert "abc:0" == reply.metadata["x-softlaunch-prediction-id"]
    assert {"x-softlaunch-prediction-id"} == {key for key in reply.metadata if key.startswith("x-softlaunch-")}
    assert ("5", "shadow") != (head["x-softlaunch-epoch"], head.get("x-softlaunch-arm"))


def test_other_methods_are_sent_once(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    for server in bench.stable:
        server.fault = "503"
    (live,) = gateway_grpc.send(
        bench, [gateway_grpc.Call(method="ServerLive", message=service_pb2.ServerLiveRequest())]
    )

    assert grpc.StatusCode.UNAVAILABLE is live.code
    assert 1 == sum(server.attempts for server in bench.stable)


def test_a_fallback_that_speaks_grpc_answers_and_others_are_not_asked(bench: gateway_bench.Bench) -> None:
    table, previous = bench.fallback_server("table"), bench.fallback_server("previous")
    kinds = {spec.FallbackKind.TABLE: table, spec.FallbackKind.PREVIOUS: previous}
    arms = tuple(traffic.FallbackArm(kind=kind, addresses=(server.socket,)) for kind, server in kinds.items())
    try:
        for rollout in (True, False):
            bench.apply(rollout=rollout, fallbacks=arms)
            for server in [*bench.stable, bench.candidate]:
                server.fault = "503"
            replies = gateway_grpc.send(bench, 50)
            bench.attempts()

            assert {(grpc.StatusCode.OK, "fallback-previous", "previous")} == {
                (reply.code, reply.release, reply.metadata["x-softlaunch-fallback"]) for reply in replies
            }
            assert {("flights", "production"): 50} == bench.fallbacks
        assert 0 == table.attempts
        previous.speaks_grpc = False
        previous.fault = "404"
        (reply,) = gateway_grpc.send(bench, [gateway_grpc.Call()])
        assert grpc.StatusCode.UNAVAILABLE is reply.code
        assert "Every release failed, and the fallback answered HTTP 404." == reply.details
    finally:
        table.kill()
        previous.kill()
