"""Binary tensor data over HTTP: bodies and headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATH = "/v2/models/svc/infer"
LENGTH = "inference-header-content-length"
Ask = Callable[..., Any]


def body(values: list[float], **more: Any) -> tuple[bytes, dict[str, str]]:
    raw = np.array(values, dtype=float).tobytes()
    tensor = {"name": "a", "shape": [len(values)], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    n = {"name": "n", "shape": [len(values)], "datatype": "INT64", "data": [1] * len(values)}
    head = json.dumps({"inputs": [tensor, n], **more}).encode()
    return head + raw, {LENGTH: str(len(head))}


def test_binary_inputs_are_answered_as_json_unless_asked_otherwise(ask: Ask) -> None:
    sent, headers = body([1, 9])

    answer = ask("POST", PATH, sent, headers=headers)

    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    assert ["no", "yes"] == json.loads(answer.body)["outputs"][0]["data"]


def test_binary_outputs_follow_the_document_that_the_header_measures(ask: Ask) -> None:
    sent, headers = body([1, 9], parameters={"binary_data_output": True}, id="q")

    answer = ask("POST", PATH, sent, headers=headers)

    assert (200, "application/octet-stream") == (answer.status, answer.headers["content-type"])
    end = int(answer.headers[LENGTH])
    document, rest = json.loads(answer.body[:end]), answer.body[end:]
    assert "q" == document["id"]
    sizes = [output["parameters"]["binary_data_size"] for output in document["outputs"]]
    assert sum(sizes) == len(rest)
    assert [0.1, 0.9] == np.frombuffer(rest[sizes[0] :][: sizes[1]]).tolist()
    assert "c:no" == answer.headers["x-softlaunch-out"]


def test_a_json_request_may_want_binary_outputs(ask: Ask) -> None:
    tensors = [{"name": name, "shape": [1], "datatype": "INT8", "data": [1]} for name in "an"]
    document = {"inputs": tensors, "outputs": [{"name": "late", "parameters": {"binary_data": True}}]}

    answer = ask("POST", PATH, json.dumps(document).encode())

    assert b"\0" == answer.body[int(answer.headers[LENGTH]) :]


@pytest.mark.parametrize("length", ["", "-1", "1e2", "+5", "٣", "99999999", "9" * 5_000, "3.0"])
def test_a_length_that_lies_is_refused_and_named(ask: Ask, length: str) -> None:
    sent, _ = body([1])

    answer = ask("POST", PATH, sent, headers={LENGTH: length})

    assert 400 == answer.status
    assert "Inference-Header-Content-Length" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("shift", [-1, 1, 8])
def test_a_length_that_is_off_is_refused(ask: Ask, shift: int) -> None:
    sent, headers = body([1])

    assert 400 == ask("POST", PATH, sent, headers={LENGTH: str(int(headers[LENGTH]) + shift)}).status


def test_binary_data_without_the_header_is_refused(ask: Ask) -> None:
    assert 400 == ask("POST", PATH, body([1])[0]).status


def test_compressed_bodies_are_refused_as_what_they_are(ask: Ask) -> None:
    assert 415 == ask("POST", PATH, b"\x1f\x8b", headers={"content-encoding": "gzip"}).status


def test_more_rows_than_can_wait_are_413_before_they_are_made(ask: Ask) -> None:
    sent, headers = body([1, 2, 3])

    assert 413 == ask("POST", PATH, sent, headers=headers, queue_rows_max=2).status


def test_the_server_says_what_it_can(ask: Ask) -> None:
    assert ["binary_tensor_data"] == json.loads(ask("GET", "/v2").body)["extensions"]


def test_a_deadline_that_has_passed_is_504(ask: Ask) -> None:
    sent, headers = body([1])

    assert 504 == ask("POST", PATH, sent, headers={**headers, "x-softlaunch-deadline-ms": "0"}).status


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=24), st.integers(-2, 2), st.binary(max_size=4))
def test_whatever_is_posted_the_answer_is_2xx_or_4xx(ask: Ask, raw: bytes, shift: int, end: bytes) -> None:
    sent, headers = body([1.0])
    length = str(max(0, int(headers[LENGTH]) + shift))

    status = ask("POST", PATH, sent[: int(headers[LENGTH])] + raw + end, headers={LENGTH: length}).status

    assert status in (200, 400, 422)
