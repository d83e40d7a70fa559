"""The binary tensor data extension: bytes to rows and back."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import oip, oip_tensors, predictions, release

D = release.Datatype
SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="a", datatype=D.FP64),
        release.Column(name="b", datatype=D.FP64, nullable=True),
    ),
    outputs=predictions.classifier_outputs(["no", "yes"]),
)


def of(datatype: release.Datatype, *, nullable: bool = False) -> release.Signature:
    column = release.Column(name="v", datatype=datatype, nullable=nullable)
    return release.Signature(inputs=(column,), outputs=predictions.regressor_outputs())


def binary(name: str, raw: bytes, shape: list[int], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}


def parse(raw: bytes, *inputs: Any, signature: release.Signature = SIGNATURE, **more: Any) -> oip.InferRequest:
    return oip.parse_request({"inputs": list(inputs), **more}, signature, binary=raw)


def texts(*values: str | bytes) -> bytes:
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        ("FP16", "<f2"),
        ("FP32", "<f4"),
        ("FP64", "<f8"),
        *((f"INT{bits}", f"<i{bits // 8}") for bits in (8, 16, 32, 64)),
        *((f"UINT{bits}", f"<u{bits // 8}") for bits in (8, 16, 32, 64)),
    ],
)
@pytest.mark.parametrize("column", [D.FP64, D.FP32, D.INT64])
def test_every_numeric_datatype_is_read_little_endian(datatype: str, dtype: str, column: release.Datatype) -> None:
    raw = np.array([0, 1, 100], dtype=dtype).tobytes()

    request = parse(raw, binary("v", raw, [3], datatype), signature=of(column))

    assert [(0,), (1,), (100,)] == request.rows
    assert all(type(row[0]) is (int if column is D.INT64 else float) for row in request.rows)


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    raw = b"".join(struct.pack("<f", value)[2:] for value in (1.0, -2.5))

    assert [(1.0,), (-2.5,)] == parse(raw, binary("v", raw, [2], "BF16"), signature=of(D.FP64)).rows


def test_booleans_are_bytes_of_0_and_1() -> None:
    assert [(True,), (False,)] == parse(b"\1\0", binary("v", b"\1\0", [2], "BOOL"), signature=of(D.BOOL)).rows
    with pytest.raises(predictions.RowError) as caught:
        parse(b"\1\2", binary("v", b"\1\2", [2], "BOOL"), signature=of(D.BOOL))
    assert (1, "v") == (caught.value.row, caught.value.column)


def test_texts_come_after_their_lengths() -> None:
    raw = texts("ä", "", "xyz")

    assert [("ä",), ("",), ("xyz",)] == parse(raw, binary("v", raw, [3, 1], "BYTES"), signature=of(D.BYTES)).rows


def test_a_text_that_is_no_unicode_is_named() -> None:
    raw = texts("x", b"\xff")

    with pytest.raises(predictions.RowError) as caught:
        parse(raw, binary("v", raw, [2], "BYTES"), signature=of(D.BYTES))

    assert (1, "v") == (caught.value.row, caught.value.column)


def test_bytes_belong_to_the_inputs_in_their_order_beside_json_ones() -> None:
    b, a = np.array([1.0, np.nan]).tobytes(), [5, 6]
    json_input = {"name": "a", "shape": [2], "datatype": "INT8", "data": a}

    assert [(5.0, 1.0), (6.0, None)] == parse(b, json_input, binary("b", b, [2])).rows


def test_a_matrix_holds_the_features_row_by_row() -> None:
    raw = np.array([[1, 2], [3, 4], [5, np.nan]], dtype="<f4").tobytes()

    assert [(1, 2), (3, 4), (5, None)] == parse(raw, binary("X", raw, [3, 2], "FP32")).rows


@pytest.mark.parametrize(
    ("column", "datatype", "values", "row"),
    [
        (D.FP64, "<f8", [1, np.nan], 1),
        (D.FP64, "<f8", [1, np.inf], 1),
        (D.FP64, "<f2", [-np.inf, 1], 0),
        (D.FP32, "<f8", [1, 2, 1e300], 2),
        (D.INT64, "<f8", [1, 1.5], 1),
        (D.INT64, "<f8", [1, 2.0**63], 1),
        (D.INT64, "<f4", [np.nan], 0),
        (D.INT64, "<u8", [1, 2**63], 1),
    ],
)
def test_a_number_the_feature_does_not_allow_is_named(
    column: release.Datatype, datatype: str, values: list[float], row: int
) -> None:
    raw = np.array(values, dtype=datatype).tobytes()
    kind = {"f": "FP", "u": "UINT"}[datatype[1]] + str(8 * int(datatype[2]))

    with pytest.raises(predictions.RowError) as caught:
        parse(raw, binary("v", raw, [len(values)], kind), signature=of(column))

    assert (row, "v") == (caught.value.row, caught.value.column)


def test_infinity_is_no_missing_number() -> None:
    raw = np.array([np.nan, np.inf]).tobytes()

    with pytest.raises(predictions.RowError) as caught:
        parse(raw, binary("v", raw, [2]), signature=of(D.FP64, nullable=True))

    assert 1 == caught.value.row


RAW = np.array([1.0, 2.0]).tobytes()


@pytest.mark.parametrize(
    "tensor",
    [
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": 17}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": 8}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": -16}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": 16.0}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": True}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": "16"}},
        {**binary("a", RAW, [2]), "parameters": {"binary_data_size": 10**400}},
        {**binary("a", RAW, [2]), "parameters": []},
        {**binary("a", RAW, [2]), "data": [1.0, 2.0]},
        binary("a", RAW, [1]),
        binary("a", RAW, [3]),
        binary("a", RAW, [2**62, 4]),
        binary("a", RAW, [10**4000]),
        binary("a", RAW, [1, 1, 2]),
        binary("a", RAW, []),
        binary("a", RAW, [2], "FP32"),
        binary("a", RAW, [2], "BYTES"),
        binary("a", RAW, [10**9], "BYTES"),
        binary("a", RAW, [2, 0], "BYTES"),
    ],
)
def test_sizes_that_lie_are_malformed_and_name_the_tensor(tensor: dict[str, Any]) -> None:
    with pytest.raises(predictions.MalformedError) as caught:
        parse(RAW, tensor)

    assert "input 'a'" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "count", "said"),
    [
        (texts("ab")[:-1], 1, "says 2 bytes where 1 are left"),
        (struct.pack("<I", 2**32 - 1) + b"ab", 1, "says 4294967295 bytes where 2 are left"),
        (texts("ab", "c"), 1, "5 bytes of data after its 1 texts"),
        (texts("abcd") + b"\0\0\0", 2, "ends before text 1"),
    ],
)
def test_lengths_of_texts_that_lie_are_malformed(raw: bytes, count: int, said: str) -> None:
    with pytest.raises(predictions.MalformedError, match=said):
        parse(raw, binary("v", raw, [count], "BYTES"), signature=of(D.BYTES))


def test_bytes_nobody_claims_are_malformed() -> None:
    with pytest.raises(predictions.MalformedError, match="8 bytes follow"):
        parse(RAW + b"\0" * 8, binary("a", RAW, [2]))


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"sequence_id": 1}},
        {"parameters": {"sequence_id": "x"}},
        {"parameters": 3},
        {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
        {"outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]},
        {"outputs": [{"name": "label", "parameters": []}]},
    ],
)
def test_what_would_change_the_answers_meaning_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(predictions.MalformedError):
        parse(RAW, binary("a", RAW, [2]), **more)


def test_hints_that_change_nothing_are_accepted() -> None:
    assert 2 == len(parse(RAW, binary("a", RAW, [2]), parameters={"priority": 3, "timeout": 5, "x": None}).rows)


def answered(**more: Any) -> oip.Answer:
    request = parse(RAW, binary("a", RAW, [2]), **more)
    columns = {"label": ["yes", "no"], "probability": [0.5, 0.25]}
    return oip.response(model="m", version="v", request=request, signature=SIGNATURE, columns=columns)


def test_outputs_are_binary_when_the_request_wants_them_so() -> None:
    answer = answered(parameters={"binary_data_output": True})

    assert [texts("yes", "no"), np.array([0.5, 0.25]).tobytes()] == answer.binary
    assert [
        {"name": "label", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 13}},
        {"name": "probability", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
    ] == answer.document["outputs"]


def test_an_output_says_its_own_form() -> None:
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}]

    answer = answered(parameters={"binary_data_output": True}, outputs=outputs)

    assert ["yes", "no"] == answer.document["outputs"][0]["data"]
    assert 1 == len(answer.binary)


def test_null_is_nan_among_numbers_and_refused_among_whole_ones() -> None:
    assert np.isnan(np.frombuffer(oip_tensors.to_bytes("y", D.FP64, [None]))).all()
    assert b"\0\0\0\0" == oip_tensors.to_bytes("y", D.BYTES, [None])
    with pytest.raises(predictions.MalformedError, match="Output 'y' of row 1 is null"):
        oip_tensors.to_bytes("y", D.INT64, [1, None])


def test_business_keys_are_taken_out_of_parameters_and_inputs() -> None:
    raw = texts("o1", "o2")
    document = {
        "inputs": [
            {"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 2]},
            binary("order", raw, [2, 1], "BYTES"),
        ],
        "parameters": {"user": 7, "other": 1},
    }

    request = oip.parse_request(document, SIGNATURE, binary=raw, keys=("user", "order", "trip"))

    assert {"user": [7, 7], "order": ["o1", "o2"]} == request.keys
    assert [(1.0, None), (2.0, None)] == request.rows


@pytest.mark.parametrize(
    ("inputs", "parameters"),
    [
        ([{"name": "k", "shape": [1], "datatype": "BYTES", "data": ["x"]}], {}),
        ([{"name": "k", "shape": [2], "datatype": "INT8", "data": [1, 2]}], {}),
        ([{"name": "k", "shape": [2], "datatype": "BYTES", "data": ["x", 5]}], {}),
        ([{"name": "k", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]}], {"k": "z"}),
        ([{"name": "k", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]}] * 2, {}),
        ([], {"k": []}),
        ([], {"k": "\ud800"}),
    ],
)
def test_a_key_that_is_none_is_named(inputs: list[Any], parameters: dict[str, Any]) -> None:
    feature = {"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 2]}
    document = {"inputs": [feature, *inputs], "parameters": parameters}

    with pytest.raises(predictions.MalformedError, match="key 'k'"):
        oip.parse_request(document, SIGNATURE, keys=("k",))


def test_a_key_that_is_a_feature_is_a_feature() -> None:
    document = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}], "parameters": {"b": 5}}

    request = oip.parse_request(document, SIGNATURE, keys=("a", "b"))

    assert ([(1.0, None)], {}) == (request.rows, request.keys)


def test_who_has_no_signature_reads_binary_inputs_too() -> None:
    raw = np.array([1.5, 2.5]).tobytes() + texts("x", "y")
    inputs = [binary("a", raw[:16], [2]), binary("s", raw[16:], [2], "BYTES")]

    request = oip.parse_untyped({"inputs": inputs}, binary=raw)

    assert [{"a": 1.5, "s": "x"}, {"a": 2.5, "s": "y"}] == request.rows


def test_keys_alone_are_no_request() -> None:
    tensor = {"name": "k", "shape": [1], "datatype": "BYTES", "data": ["x"]}

    with pytest.raises(predictions.MalformedError):
        oip.parse_request({"inputs": [tensor]}, SIGNATURE, keys=("k",))


def test_too_many_rows_are_refused_before_they_are_made() -> None:
    with pytest.raises(oip_tensors.TooManyRowsError):
        oip.parse_request({"inputs": [binary("a", RAW, [2])]}, SIGNATURE, binary=RAW, row_count_max=1)


COLUMNS: dict[release.Datatype, st.SearchStrategy[Any]] = {
    D.BOOL: st.booleans(),
    D.INT64: st.integers(-(2**63), 2**63 - 1),
    D.FP32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    D.FP64: st.floats(allow_nan=False, allow_infinity=False),
    D.BYTES: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
}


@given(st.data(), st.sampled_from(sorted(COLUMNS)))
def test_what_is_written_as_bytes_is_read_back(data: st.DataObject, datatype: release.Datatype) -> None:
    values = data.draw(st.lists(COLUMNS[datatype], min_size=1, max_size=5))
    raw = oip_tensors.to_bytes("v", datatype, values)

    request = parse(raw, binary("v", raw, [len(values)], datatype.value), signature=of(datatype))

    assert [(value,) for value in values] == request.rows


TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "X", ""]),
        "shape": st.lists(st.integers(-1, 3) | st.just(2**40), max_size=3),
        "datatype": st.sampled_from(sorted(oip_tensors.KNOWN)),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 24) | st.sampled_from([8, 16])}),
    }
)


@given(st.lists(TENSORS, min_size=1, max_size=3), st.binary(max_size=48))
def test_whatever_bytes_come_they_are_read_or_refused(tensors: list[Any], raw: bytes) -> None:
    try:
        request = parse(raw, *tensors)
    except errors.ConfigError:
        return
    assert request.rows
    assert all(len(row) == len(SIGNATURE.inputs) for row in request.rows)
