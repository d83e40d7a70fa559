"""Every failure reaches a gRPC client as a status and a sentence, and nobody waits for an answer that cannot come."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gateway_bench
import gateway_client
import gateway_faults
import gateway_grpc
import grpc
import pytest
from tritonclient import grpc as tritonclient  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2, service_pb2_grpc  # type: ignore[import-untyped]

STABLE = gateway_bench.STABLE.short
Code = grpc.StatusCode


def everybody(bench: gateway_bench.Bench, fault: str) -> None:
    for server in [*bench.stable, bench.candidate]:
        server.fault = fault


def one(bench: gateway_bench.Bench, **call: object) -> gateway_grpc.Reply:
    (reply,) = gateway_grpc.send(bench, [gateway_grpc.Call(**call)])  # type: ignore[arg-type]
    return reply


@pytest.mark.parametrize(
    ("fault", "code"), [("503", Code.UNAVAILABLE), ("422", Code.INVALID_ARGUMENT), ("404", Code.NOT_FOUND)]
)
@pytest.mark.parametrize("rollout", [True, False])
def test_what_the_model_server_says_is_what_the_client_hears(
    bench: gateway_bench.Bench, fault: str, code: grpc.StatusCode, *, rollout: bool
) -> None:
    bench.apply(rollout=rollout)
    everybody(bench, fault)
    reply = one(bench)

    assert (code, f"{STABLE} says {fault} 100% \u00e9") == (reply.code, reply.details)
    assert not {key for key in reply.metadata if key.startswith("x-softlaunch-")}


def test_overload_is_told_with_when_to_come_back(bench: gateway_bench.Bench) -> None:
    bench.apply()
    everybody(bench, "shed")
    replies = gateway_grpc.send(bench, 50)

    assert {(Code.RESOURCE_EXHAUSTED, "7", "1")} == {
        (reply.code, reply.metadata["retry-after"], reply.metadata["x-softlaunch-shed"]) for reply in replies
    }
    assert 50 == sum(server.attempts for server in [*bench.stable, bench.candidate])


@pytest.mark.parametrize("fault", ["invalid-200", "reset", "garbage"])
def test_when_every_release_fails_the_client_hears_unavailable_and_gets_no_message(
    bench: gateway_bench.Bench, fault: str
) -> None:
    bench.apply()
    everybody(bench, fault)
    reply = one(bench)

    assert (Code.UNAVAILABLE, None) == (reply.code, reply.message)
    assert reply.details
    assert "{" not in reply.details


def test_without_a_living_replica_calls_are_unavailable(bench: gateway_bench.Bench) -> None:
    bench.apply()
    for server in [*bench.stable, bench.candidate]:
        server.kill()

    assert {Code.UNAVAILABLE} == {reply.code for reply in gateway_grpc.send(bench, 20)}


def test_an_answer_after_the_request_timeout_is_deadline_exceeded(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, request_timeout_seconds=0.1)
    everybody(bench, "slow")
    reply = one(bench)

    assert Code.DEADLINE_EXCEEDED is reply.code
    assert "No release answered within the service's request timeout." == reply.details


@pytest.mark.parametrize(
    ("fault", "code"),
    [("404", Code.UNIMPLEMENTED), ("ok", Code.UNIMPLEMENTED), ("503", Code.UNAVAILABLE), ("invalid", Code.UNAVAILABLE)],
)
def test_a_server_that_does_not_speak_grpc_is_told_of_in_words(
    bench: gateway_bench.Bench, fault: str, code: grpc.StatusCode
) -> None:
    bench.apply(rollout=False)
    for server in bench.stable:
        server.speaks_grpc = False
    everybody(bench, fault)
    reply = one(bench)

    assert code is reply.code
    assert "reverse bridge" not in reply.details


def test_an_unknown_service_is_named_and_http_clients_still_get_json(bench: gateway_bench.Bench) -> None:
    route = bench.apply(rollout=False)
    bench.gateway.apply(bench.snapshot(route, bench.route(rollout=False, service="prices")))
    nowhere = one(bench)
    options = [("grpc.default_authority", f"prices.localhost:{bench.port}")]
    (there,) = gateway_grpc.send(bench, [gateway_grpc.Call()], options=options)
    (http,) = bench.send(1, host="127.0.0.1", path="/predict")

    assert Code.UNIMPLEMENTED is nowhere.code
    assert "serves: flights, prices" in nowhere.details
    assert Code.OK is there.code
    assert (404, b'{"error":"No service') == (http.status, http.body[:20])


def test_a_message_over_the_limit_is_refused_and_one_below_it_may_be_retried(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000)
    bench.candidate.fault = "503"
    large, small = (
        service_pb2.ModelInferRequest(raw_input_contents=[bytes(size)]) for size in (8 * 1024 * 1024, 8_000_000)
    )
    refused = one(bench, message=large)
    accepted = one(bench, message=small)

    assert Code.RESOURCE_EXHAUSTED is refused.code
    assert "8 MiB" in refused.details
    assert (Code.OK, STABLE) == (accepted.code, accepted.release)
    assert 8_000_000 < sum(server.body_bytes for server in bench.stable)


def test_large_answers_come_whole(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    for server in bench.stable:
        server.answer_bytes = 20_000_000
    # Not with grpc.aio: it takes 40 ms for every 100 KB of one message.
    with grpc.insecure_channel(f"127.0.0.1:{bench.port}", options=gateway_grpc.OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(service_pb2.ModelInferRequest(), timeout=30)

    assert 20_000_000 == len(answer.raw_output_contents[0])


def test_a_message_packed_with_gzip_is_unpacked_and_retried(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000)
    bench.candidate.fault = "503"
    message = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"x" * 100_000])
    reply = one(bench, message=message, compression=grpc.Compression.Gzip)
    (head, body) = next((server.heads[0], server.bodies[0]) for server in bench.stable if server.heads)

    assert (Code.OK, STABLE) == (reply.code, reply.release)
    assert message.SerializeToString() == body
    assert {"content-encoding", "grpc-encoding"}.isdisjoint(head)
    assert str(len(body)) == head["content-length"]


def test_a_small_message_cannot_unpack_to_more_than_the_limit(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    bomb = service_pb2.ModelInferRequest(raw_input_contents=[bytes(60_000_000)])
    reply = one(bench, message=bomb, compression=grpc.Compression.Gzip)

    assert Code.RESOURCE_EXHAUSTED is reply.code
    assert 0 == sum(server.attempts for server in bench.stable)


def test_other_packings_are_refused_in_words(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    reply = one(bench, compression=grpc.Compression.Deflate)

    assert Code.UNIMPLEMENTED is reply.code
    assert "gzip" in reply.details


@pytest.fixture
def channel(bench: gateway_bench.Bench) -> Iterator[grpc.Channel]:
    bench.apply(rollout=False)
    with grpc.insecure_channel(f"127.0.0.1:{bench.port}") as made:
        yield made


@pytest.mark.parametrize(
    "method",
    [
        "/inference.GRPCInferenceService/ModelStreamInfer",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Watch",
    ],
)
def test_streams_are_refused_at_once_although_the_client_is_not_done(channel: grpc.Channel, method: str) -> None:
    def endless() -> Iterator[bytes]:
        yield b""
        time.sleep(1.0)

    began = time.monotonic()
    call = channel.stream_stream(method)(endless(), timeout=30)
    with pytest.raises(grpc.RpcError) as refused:
        next(call)

    assert Code.UNIMPLEMENTED is refused.value.code()
    assert refused.value.details().endswith((".", "streams."))
    assert time.monotonic() - began < 5.0


def test_a_method_nobody_has_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)

    assert Code.UNIMPLEMENTED is refused.value.code()


def test_the_deadline_of_a_client_reaches_the_model_server_and_frees_it(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    everybody(bench, "hang")
    for server in bench.stable:  # connections of earlier tests end
        server.kill()
        server.start()
    reply = one(bench, timeout=0.3)
    (head,) = [head for server in bench.stable for head in server.heads]
    until = time.monotonic() + 2.0
    while any(server.connections for server in bench.stable) and time.monotonic() < until:
        time.sleep(0.02)

    assert Code.DEADLINE_EXCEEDED is reply.code
    assert head["grpc-timeout"].endswith("m")
    assert not [connection for server in bench.stable for connection in server.connections]


def test_large_metadata_is_passed_on_and_too_much_is_refused(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    passed = one(bench, metadata=(("note", "x" * 30_000),))
    refused = one(bench, metadata=(("note", "x" * 70_000),))
    again = one(bench)

    assert Code.OK is passed.code
    assert Code.OK is not refused.code
    assert Code.OK is again.code


def test_keepalive_pings_do_not_end_a_connection(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    everybody(bench, "slow")
    options = [
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 20),
    ]

    assert [Code.OK] == [reply.code for reply in gateway_grpc.send(bench, [gateway_grpc.Call()], options=options)]


def test_tritonclient_works_unchanged(bench: gateway_bench.Bench) -> None:
    bench.apply()
    bench.candidate.fault = "503"
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{bench.port}")
    tensor = tritonclient.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(gateway_faults.NUMBERS)
    plain = [client.infer("m", [tensor]).get_response().model_name for _ in range(20)]
    packed = client.infer("m", [tensor], compression_algorithm="gzip").get_response().model_name
    with pytest.raises(tritonclient.InferenceServerException, match="gzip"):
        client.infer("m", [tensor], compression_algorithm="deflate")
    client.close()

    assert {STABLE} == {*plain, packed}


def test_http_posts_to_grpc_paths_are_ordinary_requests(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False)
    (answer,) = asked = bench.send(
        1, path="/inference.GRPCInferenceService/ModelInfer", headers=(("content-type", "application/x-protobuf"),)
    )
    everybody(bench, "422")
    (refused,) = bench.send(1, path="/inference.GRPCInferenceService/ModelInfer")

    assert [200] == [found.status for found in asked]
    assert STABLE == service_pb2.ModelInferResponse.FromString(answer.body).model_name
    assert 422 == refused.status
    assert isinstance(refused, gateway_client.Answer)
