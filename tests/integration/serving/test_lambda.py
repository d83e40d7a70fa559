"""A release inside Lambda: events as AWS documents them, through the Runtime API, to the real model server and back."""

from __future__ import annotations

import base64
import copy
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from softlaunch.serving import lambda_handler
from softlaunch.testing import releases

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import lambda_service

EVENT = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/predict",
    "rawQueryString": "",
    "cookies": ["session=1", "theme=dark"],
    "headers": {
        "accept": "*/*",
        "content-length": "41",
        "content-type": "application/json",
        "host": "abcdefgh.lambda-url.eu-central-1.on.aws",
        "user-agent": "curl/8.5.0",
        "x-amzn-trace-id": "Root=1-6553e1f3-0bd0a8f1",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    },
    "requestContext": {
        "accountId": "anonymous",
        "apiId": "abcdefgh",
        "domainName": "abcdefgh.lambda-url.eu-central-1.on.aws",
        "domainPrefix": "abcdefgh",
        "http": {
            "method": "POST",
            "path": "/predict",
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.7",
            "userAgent": "curl/8.5.0",
        },
        "requestId": "4a5c2f0e-0000-4000-8000-1234567890ab",
        "routeKey": "$default",
        "stage": "$default",
        "time": "14/Nov/2026:12:00:00 +0000",
        "timeEpoch": 1794657600000,
    },
    "body": json.dumps(releases.LIVE_ROW),
    "isBase64Encoded": False,
}
"""As a function URL sends it (AWS Lambda's developer guide, payload format 2.0)."""


def event(method: str = "POST", path: str = "/predict", **changes) -> dict:
    found = copy.deepcopy(EVENT)
    found["rawPath"] = found["requestContext"]["http"]["path"] = path
    found["requestContext"]["http"]["method"] = method
    return {**found, **changes}


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    """The service that invokes, and the runtime process in it."""
    directory = releases.write(tmp_path_factory.mktemp("lambda") / "release", name="lambda")
    with lambda_service.running() as service:
        command = [sys.executable, "-m", "softlaunch.serving.lambda_handler", "--release", str(directory)]
        process = subprocess.Popen(
            [*command, "--digest", "ab" * 32], env={**os.environ, "AWS_LAMBDA_RUNTIME_API": service.address}
        )
        yield service
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_a_prediction_comes_back_under_the_id_that_was_asked_for(function) -> None:
    kind, response = function.invoke(EVENT)

    assert ("response", 200, False) == (kind, response["statusCode"], response["isBase64Encoded"])
    assert {"prediction": {"label": 1, "probability": 0.5}, "release": "ab" * 6} == json.loads(response["body"])
    assert "4a5c2f0e-0000-4000-8000-1234567890ab:0" == response["headers"]["x-softlaunch-prediction-id"]
    assert "content-length" not in response["headers"]


def test_a_base64_body_a_query_and_a_named_stage_reach_the_server(function) -> None:
    encoded = base64.b64encode(json.dumps({"rows": [releases.LIVE_ROW] * 2}).encode()).decode()
    found = event(path="/prod/predict", rawQueryString="a=b%20c", body=encoded, isBase64Encoded=True)
    found["requestContext"]["stage"] = "prod"

    kind, response = function.invoke(found)

    assert ("response", 200) == (kind, response["statusCode"])
    assert 2 == len(json.loads(response["body"])["predictions"])


def test_refusals_and_pages_of_the_server_are_answers_not_failures(function) -> None:
    assert 422 == function.invoke(event(body='{"x0": 1}'))[1]["statusCode"]
    assert 404 == function.invoke(event(path="/nowhere"))[1]["statusCode"]
    kind, page = function.invoke(event("GET", "/docs", body=None))
    assert ("response", 200) == (kind, page["statusCode"])
    assert "html" in page["headers"]["content-type"]


def test_a_request_without_time_left_is_answered_504(function) -> None:
    found = event()
    found["headers"]["x-softlaunch-deadline-ms"] = "0"

    assert 504 == function.invoke(found)[1]["statusCode"]
    assert "response" == function.invoke(EVENT)[0]


@pytest.mark.parametrize(
    "other",
    [
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"httpMethod": "POST", "path": "/predict", "headers": {}, "body": "{}"},
        event(path="/predict HTTP/1.1\r\nx-evil: 1"),
        event(body="not base64!", isBase64Encoded=True),
        [],
    ],
)
def test_an_event_of_another_kind_is_an_error_and_the_next_one_is_answered(function, other) -> None:
    kind, document = function.invoke(other)

    assert ("error", "EventError") == (kind, document["errorType"])
    assert "response" == function.invoke(EVENT)[0]


def test_the_deadline_is_the_earlier_of_lambdas_and_the_clients() -> None:
    found = event()
    assert "1500" == lambda_handler.request_of(found, seconds_left=1.5).headers["x-softlaunch-deadline-ms"]
    found["headers"]["X-Softlaunch-Deadline-Ms"] = "200"
    assert "200" == lambda_handler.request_of(found, seconds_left=1.5).headers["x-softlaunch-deadline-ms"]


def test_headers_of_one_connection_stay_and_cookies_are_joined() -> None:
    request = lambda_handler.request_of(EVENT)

    assert "session=1; theme=dark" == request.headers["cookie"]
    assert "content-length" not in request.headers


def test_cookies_repeated_headers_and_bytes_fit_into_a_response() -> None:
    answer = lambda_handler.Answer(
        status=200,
        headers=(
            ("Content-Type", "image/png"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Vary", "a"),
            ("vary", "b"),
        ),
        body=b"\x89PNG",
    )

    assert {
        "statusCode": 200,
        "headers": {"content-type": "image/png", "vary": "a, b"},
        "cookies": ["a=1", "b=2"],
        "isBase64Encoded": True,
        "body": base64.b64encode(b"\x89PNG").decode(),
    } == lambda_handler.event_of(answer)


def test_an_answer_that_lambda_would_not_carry_says_so() -> None:
    response = lambda_handler.event_of(lambda_handler.Answer(status=200, headers=(), body=b"x" * 7_000_000))

    assert 500 == response["statusCode"]
    assert "7000000 bytes" in json.loads(response["body"])["error"]


def test_a_release_that_cannot_be_loaded_is_an_error_of_the_start(tmp_path) -> None:
    with lambda_service.running() as service:
        command = [sys.executable, "-m", "softlaunch.serving.lambda_handler", "--release", str(tmp_path)]
        process = subprocess.run(
            command, env={**os.environ, "AWS_LAMBDA_RUNTIME_API": service.address}, capture_output=True, check=False
        )
        path, document = service.posted.get(timeout=5)

    assert (1, "/2018-06-01/runtime/init/error") == (process.returncode, path)
    assert "exit code 1" in document["errorMessage"]
    assert b"release-unreadable" in process.stderr


def test_outside_of_lambda_it_says_so() -> None:
    kept = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_RUNTIME_API"}
    command = [sys.executable, "-m", "softlaunch.serving.lambda_handler", "--release", "."]

    process = subprocess.run(command, env=kept, capture_output=True, check=False)

    assert (2, True) == (process.returncode, b"AWS_LAMBDA_RUNTIME_API is not set" in process.stderr)
