"""Recorded bodies against what the standard client's own protobuf classes write."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from softlaunch.core import oip_recorded
from softlaunch.core.shadow import agreement, answer_rows


def message(**contents: Any) -> bytes:
    """An answer whose outputs hold each of `contents` in the field of that name."""
    answer = service_pb2.ModelInferResponse(model_name="m", model_version="v", id="q")
    datatypes = {"bool": "BOOL", "int": "INT8", "int64": "INT64", "uint": "UINT8", "uint64": "UINT64"} | {
        "fp32": "FP32",
        "fp64": "FP64",
        "bytes": "BYTES",
    }
    for name, values in contents.items():
        output = answer.outputs.add(name=name, datatype=datatypes[name], shape=[len(values)])
        getattr(output.contents, f"{name}_contents").extend(values)
    return answer.SerializeToString()


def raw_message(values: np.ndarray[Any, Any], datatype: str) -> bytes:
    answer = service_pb2.ModelInferResponse(model_name="m")
    answer.outputs.add(name="y", datatype=datatype, shape=values.shape)
    answer.raw_output_contents.append(values.tobytes())
    return answer.SerializeToString()


def test_every_typed_field_is_read() -> None:
    body = message(
        bool=[True, False],
        int=[-1, 2],
        int64=[-(2**63), 2**63 - 1],
        uint=[0, 200],
        uint64=[0, 2**64 - 1],
        fp32=[0.5, -1.0],
        fp64=[0.1, 1e300],
        bytes=[b"x", "ä".encode()],
    )

    assert [
        {"bool": True, "int": -1, "int64": -(2**63), "uint": 0, "uint64": 0, "fp32": 0.5, "fp64": 0.1, "bytes": "x"},
        {"bool": False, "int": 2, "int64": 2**63 - 1, "uint": 200, "uint64": 2**64 - 1}
        | {"fp32": -1.0, "fp64": 1e300, "bytes": "ä"},
    ] == answer_rows.rows(body)


def test_raw_contents_are_read_and_a_matrix_gives_each_row_a_list() -> None:
    assert [{"y": 0.5}, {"y": None}] == answer_rows.rows(raw_message(np.array([0.5, np.nan]), "FP64"))
    assert [{"y": [1, 2]}, {"y": [3, 4]}] == answer_rows.rows(raw_message(np.array([[1, 2], [3, 4]]), "INT64"))


def binary(values: list[float], **more: Any) -> bytes:
    raw = np.array(values).tobytes()
    output = {"name": "y", "shape": [len(values)], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    return json.dumps({"model_name": "m", "outputs": [output], **more}).encode() + raw


def test_answers_of_different_forms_agree_when_they_say_the_same() -> None:
    as_json = json.dumps({"outputs": [{"name": "y", "shape": [2], "datatype": "FP64", "data": [0.5, 0.25]}]}).encode()
    same = [as_json, binary([0.5, 0.25], id="ä"), message(fp64=[0.5, 0.25]).replace(b"fp64", b"y" * 4)]
    rule = agreement.Rule(tolerance=1e-9)

    assert [{"y": 0.5}, {"y": 0.25}] == answer_rows.rows(same[1])
    assert agreement.difference(same[0], same[1], rule) is None
    found = agreement.difference(same[0], binary([0.5, 0.5]), rule)
    assert found is not None
    assert "[1].y" == found.path


def test_releases_that_differ_in_nothing_but_their_version_agree() -> None:
    one = raw_message(np.array([0.5]), "FP64")
    two = service_pb2.ModelInferResponse.FromString(one)
    two.model_version = "other"

    assert agreement.difference(one, two.SerializeToString(), agreement.Rule(tolerance=1e-9)) is None


@pytest.mark.parametrize("tail", [b"", b"\0\xff{", b"}}", b" 1"])
def test_where_the_document_ends_is_found_again(tail: bytes) -> None:
    document = json.dumps({"inputs": [], "id": "ä}"}, ensure_ascii=False).encode()

    assert len(document) == oip_recorded.document_bytes(document + tail)


@pytest.mark.parametrize("body", [b"", b"\xff", b"x{}", b"[" * 100_000, b'{"\xa6":1}\0'])
def test_what_begins_with_no_document_has_none(body: bytes) -> None:
    assert oip_recorded.document_bytes(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"{}x",
        b'{"outputs":[]}\0',
        b'{"outputs":[1]}\0',
        b'{"outputs":[{"\xa6":1}]}\0',
        message(fp64=[1.0])[:-1],
        message(),
        b"\x00\x00",
        b"\xff" * 20,
        service_pb2.ModelInferRequest(model_name="m", id="x").SerializeToString(),
        raw_message(np.array([1.0]), "FP32"),
        raw_message(np.array([1.0]), "FP9"),
        raw_message(np.zeros((0,)), "FP64"),
        raw_message(np.zeros((1, 0)), "FP64"),
    ],
)
def test_what_is_no_answer_has_no_rows(body: bytes) -> None:
    assert answer_rows.rows(body) is None


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda end: message(fp64=[1.0], bytes=[b"x"]) + end))
def test_whatever_was_recorded_it_is_read_or_not(body: bytes) -> None:
    found = answer_rows.rows(body)

    assert found is None or all(isinstance(row, dict) for row in found)


@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_floats_are_those_that_were_written(values: list[float]) -> None:
    found = answer_rows.rows(message(fp32=values))

    assert [None if math.isnan(value) else value for value in values] == [row["fp32"] for row in found or ()]
