"""gRPC messages as the standard client's own generated classes write and read them."""

from __future__ import annotations

import math
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from softlaunch.serving import grpc_messages, readiness

SERVICE = "/inference.GRPCInferenceService"
VERSION = "0123456789ab"
Ask = Callable[..., Any]


def infer(*, raw: bool = False, **inputs: list[Any]) -> Any:
    """A request for the model of the fixture: a, s and n."""
    message = service_pb2.ModelInferRequest(model_name="svc", id="q")
    fields = {"a": ("FP64", "fp64_contents"), "s": ("BYTES", "bytes_contents"), "n": ("INT64", "int64_contents")}
    for name, values in inputs.items():
        datatype, field = fields[name]
        tensor = message.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        if raw:
            if datatype == "BYTES":
                data = b"".join(len(value).to_bytes(4, "little") + value for value in values)
            else:
                data = np.array(values, dtype="<f8" if datatype == "FP64" else "<i8").tobytes()
            message.raw_input_contents.append(data)
        else:
            getattr(tensor.contents, field).extend(values)
    return message


def call(ask: Ask, message: Any, **more: Any) -> Any:
    return ask("POST", f"{SERVICE}/ModelInfer", message.SerializeToString(), **more)


def answered(ask: Ask, message: Any, **more: Any) -> Any:
    answer = call(ask, message, **more)
    assert (200, "application/x-protobuf") == (answer.status, answer.headers["content-type"])
    assert "x-softlaunch-grpc-status" not in answer.headers
    return service_pb2.ModelInferResponse.FromString(answer.body)


def refused(answer: Any) -> tuple[int, int, str]:
    assert b"" == answer.body
    assert "application/x-protobuf" == answer.headers["content-type"]
    message = answer.headers["x-softlaunch-grpc-message"]
    assert message.isascii()
    assert message.isprintable()
    return answer.status, int(answer.headers["x-softlaunch-grpc-status"]), urllib.parse.unquote(message)


def test_typed_contents_are_answered_in_typed_contents(ask: Ask) -> None:
    found = answered(ask, infer(a=[1, 9], s=[b"x", "ä".encode()], n=[-5, 2**62]))

    assert ("svc", VERSION, "q") == (found.model_name, found.model_version, found.id)
    outputs = {output.name: output for output in found.outputs}
    assert ["label", "probability", "rank", "late", "small"] == list(outputs)
    assert [b"no", b"yes"] == list(outputs["label"].contents.bytes_contents)
    assert [0.1, 0.9] == list(outputs["probability"].contents.fp64_contents)
    assert [-5, 2**62] == list(outputs["rank"].contents.int64_contents)
    assert [False, True] == list(outputs["late"].contents.bool_contents)
    assert [0.5, 0.5] == list(outputs["small"].contents.fp32_contents)
    assert [[2]] * 5 == [list(output.shape) for output in found.outputs]
    assert ["BYTES", "FP64", "INT64", "BOOL", "FP32"] == [output.datatype for output in found.outputs]
    assert not found.raw_output_contents


def test_raw_contents_are_answered_in_raw_contents(ask: Ask) -> None:
    found = answered(ask, infer(raw=True, a=[1, 9], s=[b"x", b""], n=[3, 4]))

    label, probability, rank, late, small = found.raw_output_contents
    assert b"\2\0\0\0no\3\0\0\0yes" == label
    assert [0.1, 0.9] == np.frombuffer(probability, "<f8").tolist()
    assert [3, 4] == np.frombuffer(rank, "<i8").tolist()
    assert [False, True] == np.frombuffer(late, bool).tolist()
    assert [0.5, 0.5] == np.frombuffer(small, "<f4").tolist()
    assert not any(output.HasField("contents") for output in found.outputs)


def test_only_the_outputs_asked_for_are_answered(ask: Ask) -> None:
    message = infer(a=[1], n=[1])
    message.outputs.add(name="late")
    message.outputs.add(name="label")

    assert ["late", "label"] == [output.name for output in answered(ask, message).outputs]


def test_a_missing_number_is_nan_and_a_missing_whole_one_cannot_be_said(ask: Ask) -> None:
    message = infer(a=[1], s=[b"none"], n=[1])
    message.outputs.add(name="small")
    assert math.isnan(answered(ask, message).outputs[0].contents.fp32_contents[0])

    status, grpc_status, said = refused(call(ask, infer(a=[1])))
    assert (400, 3) == (status, grpc_status)
    assert "'rank' of row 0 is null" in said


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("INT8", "int_contents", [7]),
        ("INT16", "int_contents", [7]),
        ("INT32", "int_contents", [7]),
        ("INT64", "int64_contents", [7]),
        ("UINT8", "uint_contents", [7]),
        ("UINT16", "uint_contents", [7]),
        ("UINT32", "uint_contents", [7]),
        ("UINT64", "uint64_contents", [7]),
        ("FP32", "fp32_contents", [0.5]),
        ("FP64", "fp64_contents", [0.5]),
    ],
)
def test_a_number_may_come_in_every_field(ask: Ask, datatype: str, field: str, values: list[Any]) -> None:
    message = service_pb2.ModelInferRequest(model_name="svc", model_version=VERSION)
    getattr(message.inputs.add(name="a", datatype=datatype, shape=[1, 1]).contents, field).extend(values)
    message.outputs.add(name="small")

    assert [0.5] == list(answered(ask, message).outputs[0].contents.fp32_contents)


def test_a_prediction_is_accounted_for_as_on_http(ask: Ask) -> None:
    answer = call(ask, infer(a=[9], n=[1]))

    assert ("c:yes", "0") == (answer.headers["x-softlaunch-out"], answer.headers["x-softlaunch-served"])
    assert "x-softlaunch-cpu-us" in answer.headers


def test_business_keys_are_no_features(ask: Ask) -> None:
    message = infer(a=[1], n=[1])
    message.parameters["user"].string_param = "u7"
    message.inputs.add(name="order", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"o1")

    assert 200 == call(ask, message, keys=("user", "order")).status
    assert (422, 3) == refused(call(ask, message))[:2]


def change(message: Any, path: str, value: Any) -> Any:
    if path == "shape":
        del message.inputs[0].shape[:]
        message.inputs[0].shape.extend(value)
    elif path == "raw":
        message.raw_input_contents.extend(value)
    else:
        owner, _, field = path.rpartition(".")
        setattr(message.inputs[0] if owner else message, field, value)
    return message


@pytest.mark.parametrize(
    ("path", "value", "expected", "said"),
    [
        ("shape", [2], (400, 3), "'a' has shape [2] but 1 values"),
        ("shape", [-1], (400, 3), "'a' has a negative size"),
        ("shape", [2**62, 4], (400, 3), "'a' has shape"),
        ("shape", [1] * 70_000, (400, 3), "'a' has shape"),
        ("input.datatype", "FP8", (400, 3), "'a' has datatype 'FP8'"),
        ("input.datatype", "FP32", (400, 3), "'a' of datatype FP32 has fp64_contents where it should have fp32"),
        ("input.datatype", "FP16", (400, 3), "'a' of datatype FP16 can only be sent in raw_input_contents"),
        ("input.name", "A", (422, 3), "There is no feature 'A'. Known are 'a'"),
        ("raw", [b"x"], (400, 3), "there are 1 raw_input_contents for 2 inputs"),
        ("raw", [b"x", b"y"], (400, 3), "'a' has fp64_contents where the request has raw_input_contents"),
        ("model_name", "other", (404, 5), "There is no model 'other'"),
        ("model_version", "7", (404, 5), "There is no version '7'"),
    ],
)
def test_what_is_wrong_is_named(ask: Ask, path: str, value: Any, expected: tuple[int, int], said: str) -> None:
    found = refused(call(ask, change(infer(a=[1], n=[1]), path, value)))

    assert expected == found[:2]
    assert said in found[2]


def test_raw_sizes_that_lie_are_named(ask: Ask) -> None:
    message = infer(raw=True, a=[1], s=[b"x"])
    message.raw_input_contents[0] += b"\0"

    assert "input 'a' of datatype FP64 and shape [1] has 9 bytes of data, not 8" in refused(call(ask, message))[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"raise", (500, 13)), (b"nan", (500, 13))],
)
def test_a_fault_of_the_model_is_internal(ask: Ask, text: bytes, expected: tuple[int, int]) -> None:
    answer = call(ask, infer(a=[1], s=[text], n=[1]))

    assert expected == refused(answer)[:2]
    assert (text == b"nan") == ("x-softlaunch-invalid" in answer.headers)


def test_too_much_is_exhausted_and_no_model_is_unavailable(ask: Ask) -> None:
    assert (413, 8) == refused(call(ask, infer(a=[1] * 4), queue_rows_max=3))[:2]
    assert (413, 8) == refused(ask("POST", f"{SERVICE}/ModelInfer", b"x" * 100_001))[:2]
    assert (503, 14) == refused(call(ask, infer(a=[1]), phase=readiness.Phase.LOADING))[:2]


def test_a_deadline_that_has_passed_is_said_so(ask: Ask) -> None:
    answer = call(ask, infer(a=[1], n=[1]), headers={"grpc-timeout": "0m"})

    assert (504, 4) == refused(answer)[:2]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", f"{SERVICE}/ModelStreamInfer", (404, 12)),
        ("POST", f"{SERVICE}/", (404, 12)),
        ("GET", f"{SERVICE}/ModelInfer", (405, 12)),
    ],
)
def test_other_methods_are_unimplemented(ask: Ask, method: str, path: str, expected: tuple[int, int]) -> None:
    assert expected == refused(ask(method, path))[:2]


def test_a_body_that_is_no_message_is_an_invalid_argument_and_a_prediction(ask: Ask) -> None:
    answer = ask("POST", f"{SERVICE}/ModelInfer", b"\xff\xff")

    assert (400, 3) == refused(answer)[:2]
    assert "0" == answer.headers["x-softlaunch-served"]
    assert (400, 3) == refused(ask("POST", f"{SERVICE}/ModelReady", b"\xff\xff"))[:2]


def test_health_and_metadata(ask: Ask) -> None:
    def get(method: str, phase: readiness.Phase = readiness.Phase.READY, **fields: Any) -> Any:
        request = getattr(service_pb2, f"{method}Request")(**fields)
        answer = ask("POST", f"{SERVICE}/{method}", request.SerializeToString(), phase=phase)
        assert 200 == answer.status, answer
        return getattr(service_pb2, f"{method}Response").FromString(answer.body)

    assert get("ServerLive", readiness.Phase.LOADING).live
    assert [False, True] == [get("ServerReady", phase).ready for phase in readiness.Phase if phase.value != "draining"]
    assert get("ModelReady", name="svc", version=VERSION).ready
    assert ["binary_tensor_data"] == get("ServerMetadata").extensions
    found = get("ModelMetadata", name="svc")
    assert ("svc", [VERSION], "test") == (found.name, found.versions, found.platform)
    assert [("a", "FP64", [-1]), ("s", "BYTES", [-1]), ("n", "INT64", [-1])] == [
        (tensor.name, tensor.datatype, list(tensor.shape)) for tensor in found.inputs
    ]
    unknown = service_pb2.ModelReadyRequest(name="other").SerializeToString()
    assert (404, 5) == refused(ask("POST", f"{SERVICE}/ModelReady", unknown))[:2]


def test_messages_are_those_of_the_standard_client() -> None:
    def shape(descriptor: Any) -> Any:
        fields = {
            field.name: (
                field.number,
                field.type,
                field.is_repeated,
                field.containing_oneof.name if field.containing_oneof else None,
                field.message_type.full_name if field.message_type else None,
            )
            for field in descriptor.fields
        }
        return fields, {nested.name: shape(nested) for nested in descriptor.nested_types}

    for name in grpc_messages._MESSAGES:
        ours = grpc_messages.message(name).DESCRIPTOR
        theirs: Any = service_pb2
        for part in name.split("."):
            theirs = getattr(theirs, part)
        assert shape(theirs.DESCRIPTOR) == shape(ours), name


WITHOUT = """
import sys
sys.modules["google.protobuf"] = None
import asyncio
from softlaunch.serving import app
class Proto:
    async def __aiter__(self):
        yield b""
    def response_bytes(self, status, headers, body):
        print(status, dict(headers)["x-softlaunch-grpc-status"], dict(headers)["x-softlaunch-grpc-message"])
class Scope:
    method, path, headers = "POST", "/inference.GRPCInferenceService/ServerLive", {}
found = app.App(service="s", version="v", instance="i", body_bytes_max=1)
asyncio.run(found.__rsgi__(Scope, Proto()))
"""


def test_without_protobuf_the_answer_says_what_to_add() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)

    assert run.stdout.startswith("501 12 This release's environment has no protobuf package. Add protobuf")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda end: infer(a=[1.0], n=[1]).SerializeToString() + end))
def test_whatever_is_posted_it_is_answered_or_refused(ask: Ask, body: bytes) -> None:
    assert ask("POST", f"{SERVICE}/ModelInfer", body).status in (200, 400, 404, 413, 422)
