"""The application against granian's interface, without a socket: every answer is JSON with a status it should have."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softlaunch.core import predictions, release
from softlaunch.serving import app as app_module
from softlaunch.serving import batching, model_thread, readiness, rows_codec

SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="a", datatype=release.Datatype.FP64),
        release.Column(name="s", datatype=release.Datatype.BYTES, nullable=True),
    ),
    outputs=predictions.classifier_outputs(["no", "yes"]),
)
BODY_BYTES_MAX = 4_000


@dataclasses.dataclass
class Scope:
    method: str
    path: str
    headers: dict[str, str]


@dataclasses.dataclass
class Protocol:
    """What granian passes: gives the body, keeps the answer."""

    body: bytes
    status: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    answer: bytes = b""

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1_000):
            yield self.body[start : start + 1_000]

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.answer = status, dict(headers), body


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


def model(rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
    if any(row[1] == "raise" for row in rows):
        raise KeyError("raise")
    scores = np.array([np.nan if row[1] == "nan" else 0.5 for row in rows])
    return {"label": np.array(["no"] * len(rows)), "probability": scores}


def ask(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    phase: readiness.Phase = readiness.Phase.READY,
    queue_rows_max: int = 100,
) -> Answer:
    async def run() -> Protocol:
        thread = model_thread.ModelThread()
        app = app_module.App(service="svc", version="0123456789ab", instance="tok", body_bytes_max=BODY_BYTES_MAX)
        app.phase = phase
        if phase is not readiness.Phase.LOADING:
            app.loaded = readiness.Loaded(
                batcher=batching.Batcher(
                    model, SIGNATURE.outputs, thread=thread, batch_rows_max=10, queue_rows_max=queue_rows_max
                ),
                codec=rows_codec.RowsCodec(SIGNATURE, "0123456789ab"),
                signature=SIGNATURE,
                declared=SIGNATURE,
                platform="test",
            )
        protocol = Protocol(body)
        declared = {"content-length": str(len(body))} if headers is None else headers
        await asyncio.wait_for(app.__rsgi__(Scope(method, path, dict(declared)), protocol), 10)
        thread.close()
        assert app.in_flight == 0
        return protocol

    protocol = asyncio.run(run())
    assert protocol.headers["content-type"] == "application/json"
    assert protocol.headers["x-softlaunch-release"] == "0123456789ab"
    return Answer(protocol.status, protocol.headers, json.loads(protocol.answer))


def infer(*tensors: Any) -> bytes:
    return json.dumps({"inputs": list(tensors)}).encode()


def test_predictions_carry_the_release() -> None:
    answer = ask("POST", "/predict", b'{"rows":[{"a":1,"s":"x"}]}')

    assert {"predictions": [{"label": "no", "probability": 0.5}], "release": "0123456789ab"} == answer.body
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/v2/models/svc/infer", "/v2/models/svc/versions/0123456789ab/infer"])
def test_infer_answers_tensors(path: str) -> None:
    answer = ask("POST", path, infer({"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 2]}))

    assert answer.status == 200
    assert [2] == answer.body["outputs"][0]["shape"]
    assert ["no", "no"] == answer.body["outputs"][0]["data"]


def test_health_names_the_instance_and_the_phase() -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/svc/ready"):
        answer = ask("GET", path)
        assert (200, "tok") == (answer.status, answer.headers["x-softlaunch-instance"])


@pytest.mark.parametrize("phase", [readiness.Phase.LOADING, readiness.Phase.DRAINING])
def test_a_server_that_is_not_ready_is_live(phase: readiness.Phase) -> None:
    assert 200 == ask("GET", "/v2/health/live", phase=phase).status
    assert 503 == ask("GET", "/v2/health/ready", phase=phase).status
    assert 503 == ask("GET", "/v2/models/svc/ready", phase=phase).status


def test_a_draining_server_still_answers_and_closes_the_connection() -> None:
    answer = ask("POST", "/predict", b'{"a":1}', phase=readiness.Phase.DRAINING)

    assert (200, "close") == (answer.status, answer.headers["connection"])


def test_a_loading_server_answers_no_predictions() -> None:
    for path in ("/predict", "/v2/models/svc/infer"):
        assert 503 == ask("POST", path, b'{"a":1}', phase=readiness.Phase.LOADING).status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/models/svc/infer", 405),
        ("GET", "/", 404),
        ("GET", "/v2/", 200),
        ("GET", "/v2x", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/svc/versions/ffffffffffff", 404),
        ("GET", "/v2/models/svc/versions/0123456789ab", 200),
        ("GET", "/v2/models/svc/else", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/infer", 404),
    ],
)
def test_paths_and_methods_that_do_not_exist_are_said_in_json(method: str, path: str, status: int) -> None:
    answer = ask(method, path)

    assert status == answer.status
    assert status == 200 or {"error", "remedy"} <= answer.body.keys()


def test_a_refused_row_is_named() -> None:
    answer = ask("POST", "/predict", b'[{"a":1},{"a":"x"}]')

    assert (422, 1, "a") == (answer.status, answer.body["row"], answer.body["column"])
    assert "'x'" in answer.body["error"]
    assert answer.body["remedy"]


def test_a_feature_name_that_is_no_unicode_can_be_refused() -> None:
    assert 422 == ask("POST", "/predict", b'{"\\ud800":1}').status


@pytest.mark.parametrize("path", ["/predict", "/v2/models/svc/infer"])
@pytest.mark.parametrize("headers", [None, {}, {"content-length": "soon"}])
def test_a_body_above_the_limit_is_413_declared_or_not(path: str, headers: dict[str, str] | None) -> None:
    assert 413 == ask("POST", path, b"x" * (BODY_BYTES_MAX + 1), headers=headers).status


def test_more_rows_than_can_wait_is_413() -> None:
    assert 413 == ask("POST", "/predict", b'[{"a":1},{"a":1},{"a":1}]', queue_rows_max=2).status


def test_an_invalid_answer_is_marked_and_names_row_and_output() -> None:
    answer = ask("POST", "/predict", b'[{"a":1},{"a":1,"s":"nan"}]')

    assert (500, "1") == (answer.status, answer.headers["x-softlaunch-invalid"])
    assert (1, "probability") == (answer.body["row"], answer.body["output"])


def test_a_model_that_raises_is_500_with_its_message_and_unmarked() -> None:
    answer = ask("POST", "/predict", b'{"a":1,"s":"raise"}')

    assert 500 == answer.status
    assert "KeyError: 'raise'" in answer.body["error"]
    assert not {"x-softlaunch-invalid", "x-softlaunch-shed"} & answer.headers.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", b'{"a":1}'),
        ("/v2/models/svc/infer", infer({"name": "a", "shape": [1], "datatype": "FP64", "data": [1]})),
    ],
)
def test_predictions_say_what_they_cost_and_what_they_say(path: str, body: bytes) -> None:
    answer = ask("POST", path, body)

    assert ("c:no", "0") == (answer.headers["x-softlaunch-out"], answer.headers["x-softlaunch-served"])
    assert 0 <= int(answer.headers["x-softlaunch-cpu-us"]) < 1_000_000


def test_a_failed_call_says_what_it_cost_and_nothing_more() -> None:
    for body in (b'{"a":1,"s":"raise"}', b'{"a":1,"s":"nan"}'):
        answer = ask("POST", "/predict", body)
        assert "x-softlaunch-cpu-us" in answer.headers
        assert "x-softlaunch-out" not in answer.headers


def test_a_refused_request_cost_no_call() -> None:
    answer = ask("POST", "/predict", b"not json")

    assert "x-softlaunch-cpu-us" not in answer.headers
    assert "0" == answer.headers["x-softlaunch-served"]


def test_health_and_metadata_are_no_predictions() -> None:
    assert "x-softlaunch-served" not in ask("GET", "/v2/health/ready").headers


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=2) | st.sampled_from("as"), children)
    ),
    max_leaves=8,
)
ROW = st.fixed_dictionaries(
    {"a": VALUES}, optional={"s": st.text(max_size=3).filter(lambda s: s != "nan"), "z": VALUES}
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from("aszX"),
        "shape": st.lists(st.integers(0, 2), max_size=2),
        "datatype": st.sampled_from(["FP64", "INT8", "BYTES"]),
        "data": st.lists(VALUES, max_size=4),
    }
)
DOCUMENTS = VALUES | st.lists(ROW, max_size=2) | st.fixed_dictionaries({"rows": st.lists(ROW, max_size=2)})
INFER = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=2)}, optional={"id": st.text(max_size=3) | VALUES, "outputs": VALUES}
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["/predict", "/v2/models/svc/infer"]),
    (DOCUMENTS | INFER).map(lambda found: json.dumps(found).encode()) | st.binary(),
)
def test_whatever_is_posted_the_answer_is_2xx_or_4xx(path: str, body: bytes) -> None:
    answer = ask("POST", path, body)

    assert answer.status in (200, 400, 413, 422), answer


@pytest.mark.parametrize(
    ("body", "name"), [(b'{"a":1}', "r-1:0"), (b'[{"a":1},{"a":2}]', "r-1:0-1"), (b'{"a":"x"}', None)]
)
def test_an_answered_prediction_names_its_rows(body: bytes, name: str | None) -> None:
    headers = {"content-length": str(len(body)), "x-request-id": "r-1"}

    assert name == ask("POST", "/predict", body, headers=headers).headers.get("x-softlaunch-prediction-id")
    assert "x-softlaunch-prediction-id" not in ask("POST", "/predict", body).headers


@pytest.mark.parametrize("path", ["/predict", "/v2/models/svc/infer"])
def test_a_request_whose_deadline_has_passed_is_answered_504_and_is_no_overload(path: str) -> None:
    body = b'{"a":1}' if path == "/predict" else infer({"name": "a", "shape": [1], "datatype": "FP64", "data": [1]})
    answer = ask("POST", path, body, headers={"content-length": str(len(body)), "x-softlaunch-deadline-ms": "0"})

    assert 504 == answer.status
    assert "deadline" in answer.body["error"]
    assert "x-softlaunch-shed" not in answer.headers
