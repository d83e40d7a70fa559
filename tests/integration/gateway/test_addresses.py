"""Where services answer, what the gateway itself answers, and how large or slow a request may be."""

from __future__ import annotations

import asyncio
import json
import pathlib
import shutil
import socket
import tempfile
import time

import gateway_bench
import gateway_client
import pytest

from softlaunch.core.rollout import traffic

PREDICTIONS = ("/predict", "/v2/models/flights/infer", "/v2/models/flights/versions/1/infer")


@pytest.mark.parametrize("path", [*PREDICTIONS, "/v2", "/a/b?c=d"])
@pytest.mark.parametrize(
    ("host", "prefix"),
    [("flights.localhost", ""), ("flights.localhost:8080", ""), ("127.0.0.1:8080", "/flights"), ("localhost", "")],
)
def test_a_service_answers_by_host_by_prefix_and_alone_at_the_root(
    bench: gateway_bench.Bench, host: str, prefix: str, path: str
) -> None:
    bench.apply()
    (answer,) = bench.send(1, host=host, path=prefix + path)

    assert (200, path) == (answer.status, json.loads(answer.body)["path"])


@pytest.mark.parametrize("path", PREDICTIONS)
@pytest.mark.parametrize("prefix", ["", "/flights"])
def test_every_prediction_path_is_repeated(bench: gateway_bench.Bench, prefix: str, path: str) -> None:
    bench.apply()
    bench.candidate.fault = "503"

    assert [] == gateway_bench.failed(bench.send(40, host="localhost", path=prefix + path))
    assert bench.candidate.attempts > 0


def test_two_services_in_two_environments_do_not_meet(bench: gateway_bench.Bench) -> None:
    servers = [bench.server(gateway_bench.STABLE, number, mark="other") for number in range(4)]
    ports = (bench.port, gateway_bench.free_port())
    places = [
        ("flights", "production"),
        ("prices", "production"),
        ("flights", "integration"),
        ("prices", "integration"),
    ]
    routes = [
        bench.route(
            service=service,
            environment=environment,
            rollout=False,
            stable=gateway_bench.arm(gateway_bench.STABLE, server),
        )
        for (service, environment), server in zip(places, servers, strict=True)
    ]
    listeners = tuple(
        traffic.Listener(environment=environment, port=port)
        for environment, port in zip(("production", "integration"), ports, strict=True)
    )
    bench.attempts()
    bench.gateway.apply(traffic.RoutingSnapshot(listeners=listeners, routes=tuple(routes)))
    for number, (service, environment) in enumerate(places):
        port = ports[0] if environment == "production" else ports[1]
        requests = [
            *[gateway_client.Request(host=f"{service}.localhost:{port}")] * (number + 1),
            *[gateway_client.Request(host="localhost", path=f"/{service}/predict")] * (number + 1),
        ]
        assert {200} == {answer.status for answer in asyncio.run(gateway_client.send(port, requests))}
    (lost,) = asyncio.run(gateway_client.send(ports[0], [gateway_client.Request(host="localhost")]))
    logged = bench.attempts(at_least=20)
    for server in servers:
        server.kill()

    assert [2, 4, 6, 8] == [server.attempts for server in servers]
    assert [2, 4, 6, 8] == [
        sum((attempt.service, attempt.environment, attempt.epoch) == (*place, route.epoch) for attempt in logged)
        for place, route in zip(places, routes, strict=True)
    ]
    assert lost.status == 404
    assert "serves: flights, prices" in json.loads(lost.body)["error"]


def test_a_service_without_replicas_says_so(bench: gateway_bench.Bench) -> None:
    bench.apply(rollout=False, stable=traffic.ArmRoute(release=gateway_bench.STABLE, replicas=()), fallback_body=None)
    (answer,) = bench.send(1)

    assert (503, "no healthy upstream") == (answer.status, json.loads(answer.body)["error"])


def test_an_environment_without_services_says_so(bench: gateway_bench.Bench) -> None:
    bench.gateway.apply(bench.snapshot())
    (answer,) = bench.send(1)

    assert answer.status == 404
    assert "serves: none yet" in json.loads(answer.body)["error"]


def test_a_body_of_8_mib_is_repeated_and_one_of_20_mb_refused_in_words(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000)
    bench.candidate.fault = "503"
    body = b"x" * (8 * 1024 * 1024)
    (large,) = bench.send(1, body=body)
    (too_large,) = bench.send(1, body=b"x" * 20_000_000)

    assert [] == gateway_bench.failed([large])
    assert len(body) == max(server.body_bytes for server in bench.stable)
    assert too_large.status == 413
    assert "larger than 8 MiB" in json.loads(too_large.body)["error"]


def test_clients_see_no_internal_headers_and_cannot_send_them(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000)
    bench.candidate.fault = "422"
    forged = (("x-softlaunch-key", "forged"), ("x-envoy-max-retries", "0"), ("x-envoy-upstream-rq-timeout-ms", "1"))
    (answer,) = bench.send(1, headers=forged)
    keys = bench.candidate.keys

    assert [] == gateway_bench.failed([answer])
    assert {""} == keys
    assert not {name for name in answer.headers if name.startswith("x-softlaunch")}
    assert "x-envoy-ratelimited" not in answer.headers


def test_what_a_model_server_reports_is_logged_and_not_told_to_clients(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000)
    reported = ("out: c:late", "cpu-us: 1234", "memory-kib: 70000", "served: 8")
    bench.candidate.answer_headers = "\r\n".join(f"x-softlaunch-{text}" for text in reported)
    (answer,) = bench.send(1, body=b"x" * 321)
    bench.candidate.answer_headers = "x-softlaunch-cpu-us: fast\r\nx-softlaunch-served: -1\r\nx-softlaunch-memory-kib: "
    (strange,) = bench.send(1)
    full, malformed = bench.attempts(at_least=2)

    assert ("c:late", 1234, 70_000, 8, 321) == (
        full.output,
        full.cpu_us,
        full.memory_kib,
        full.served_count,
        full.input_bytes,
    )
    assert pathlib.Path(bench.candidate.socket).name == full.replica
    assert ("", None, None, None) == (malformed.output, malformed.cpu_us, malformed.memory_kib, malformed.served_count)
    assert not {name for name in [*answer.headers, *strange.headers] if name.startswith("x-softlaunch")}


@pytest.mark.parametrize("prefix", ["", "/flights"])
def test_prediction_paths_of_a_team_are_protected_like_predict_and_only_for_post(
    bench: gateway_bench.Bench, prefix: str
) -> None:
    bench.apply(predict_paths=("/score", "/api/v1/*"), try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS)
    bench.candidate.fault = "503"
    for path in ("/score", "/api/v1/", "/api/v1/a/b?c=d"):
        assert [] == gateway_bench.failed(bench.send(60, host="localhost", path=prefix + path))
    bench.candidate.fault = "hang"
    began = time.monotonic()
    assert [] == gateway_bench.failed(bench.send(60, host="localhost", path=f"{prefix}/score", connections=60))
    assert time.monotonic() - began < 1.5
    bench.candidate.fault = "503"
    for path in ("/scores", "/api/v1", "/api/v2/x", "/score/x"):
        assert gateway_bench.failed(bench.send(60, host="localhost", path=prefix + path))
    assert gateway_bench.failed(bench.send(60, host="localhost", path=f"{prefix}/score", method="PUT"))
    for server in [*bench.stable, bench.candidate]:
        server.kill()
    (answer,) = bench.send(1, host="localhost", path=f"{prefix}/api/v1/x")

    assert "body" == answer.headers["x-softlaunch-fallback"]


def test_one_request_id_for_everything_does_not_make_retries_of_requests(bench: gateway_bench.Bench) -> None:
    bench.apply()
    answers = bench.send(20, headers=(("x-request-id", "same"),))
    logged = bench.attempts(at_least=20)

    assert 20 == len({attempt.request_id for attempt in logged})
    assert {answer.headers["x-request-id"] for answer in answers} == {attempt.request_id for attempt in logged}


def test_a_slow_client_does_not_count_as_a_slow_candidate(bench: gateway_bench.Bench) -> None:
    bench.apply(weight=10_000, try_timeout_seconds=gateway_bench.SHORT_TRY_SECONDS)
    with socket.create_connection(("127.0.0.1", bench.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nhost: flights.localhost\r\ncontent-length: 4\r\n\r\nab")
        time.sleep(3 * gateway_bench.SHORT_TRY_SECONDS)
        client.sendall(b"cd")
        answer = client.recv(4096)
    (attempt,) = bench.attempts(at_least=1)

    assert answer.startswith(b"HTTP/1.1 200")
    assert (gateway_bench.CANDIDATE.short, "-") == (attempt.release, attempt.flags)
    assert attempt.latency_us is not None
    assert attempt.latency_us < 100_000


def test_strange_keys_are_logged_and_break_nothing(bench: gateway_bench.Bench) -> None:
    bench.apply()
    bench.send(1, headers=(("x-user-id", 'b\xff"\\,{}' * 40),))
    (attempt,) = bench.attempts(at_least=1)

    assert attempt.key == ('b\xff"\\,{}' * 40)[:128]


def test_two_homes_live_side_by_side_and_a_port_is_never_shared(bench: gateway_bench.Bench) -> None:
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slg-"))
    bench.apply()
    other = gateway_bench.Bench(directory)
    try:
        other.gateway.start()
        other.apply()
        assert [] == gateway_bench.failed(other.send(50))
        assert [] == gateway_bench.failed(bench.send(50))
        assert other.gateway.pid != bench.gateway.pid
    finally:
        other.close()
        shutil.rmtree(directory)
