from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import oip, oip_tensors, predictions, release

SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="a", datatype=release.Datatype.FP64),
        release.Column(name="b", datatype=release.Datatype.FP64, nullable=True),
    ),
    outputs=predictions.classifier_outputs([0, 1]),
)
MIXED = release.Signature(
    inputs=(
        release.Column(name="n", datatype=release.Datatype.INT64),
        release.Column(name="s", datatype=release.Datatype.BYTES),
    ),
    outputs=predictions.regressor_outputs(),
)


def tensor(name: str, data: list[Any], shape: list[int] | None = None, datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def parse(*inputs: Any, **more: Any) -> oip.InferRequest:
    return oip.parse_request({"inputs": list(inputs), **more}, SIGNATURE)


def test_one_tensor_per_feature_becomes_rows() -> None:
    request = parse(tensor("b", [3.0, 4.0], [2, 1]), tensor("a", [1, 2], datatype="INT32"), id="q")

    assert [(1.0, 3.0), (2.0, 4.0)] == request.rows
    assert "q" == request.id
    assert ["label", "probability"] == [found.name for found in request.outputs]


@pytest.mark.parametrize("data", [[1.0, 2.0, 3.0, 4.0], [[1.0, 2.0], [3.0, 4.0]]])
def test_one_matrix_holds_the_features_in_order(data: list[Any]) -> None:
    assert [(1.0, 2.0), (3.0, 4.0)] == parse(tensor("X", data, [2, 2], "FP32")).rows


def test_a_nullable_feature_may_be_null_or_have_no_tensor() -> None:
    assert [(1.0, None)] == parse(tensor("a", [1.0])).rows
    assert [(1.0, None)] == parse(tensor("a", [1.0]), tensor("b", [None])).rows


def test_text_and_integers_have_tensors_of_their_own() -> None:
    document = {"inputs": [tensor("s", ["x"], datatype="BYTES"), tensor("n", [7], datatype="UINT8")]}

    assert [(7, "x")] == oip.parse_request(document, MIXED).rows


def test_only_the_outputs_asked_for_are_answered_in_that_order() -> None:
    request = parse(tensor("a", [1.0]), outputs=[{"name": "probability"}], id="q")

    answer = oip.response(
        model="m", version="v", request=request, signature=SIGNATURE, columns={"label": [1], "probability": [0.5]}
    )

    assert {
        "model_name": "m",
        "model_version": "v",
        "id": "q",
        "outputs": [{"name": "probability", "shape": [1], "datatype": "FP64", "data": [0.5]}],
    } == answer.document


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": [{}]},
        {"inputs": [tensor("a", [1.0], [2])]},
        {"inputs": [tensor("a", [1.0], [1, 1, 1])]},
        {"inputs": [tensor("a", [1.0], [-1])]},
        {"inputs": [tensor("a", [1.0], [True])]},
        {"inputs": [tensor("a", [1.0], datatype="STRING")]},
        {"inputs": [{**tensor("a", [1.0]), "datatype": []}]},
        {"inputs": [{**tensor("a", [1.0]), "data": 1}]},
        {"inputs": [tensor("a", [1.0]), tensor("a", [1.0])]},
        {"inputs": [tensor("a", [1.0]), tensor("b", [1.0, 2.0])]},
        {"inputs": [tensor("X", [1.0, 2.0, 3.0], [1, 3])]},
        {"inputs": [tensor("a", [1.0])], "id": 5},
        {"inputs": [tensor("a", [1.0])], "outputs": {}},
        {"inputs": [tensor("a", [1.0])], "outputs": [{"name": "labels"}]},
        {"inputs": [tensor("a", [1.0])], "outputs": ["label"]},
    ],
)
def test_what_is_not_the_protocol_is_malformed(document: Any) -> None:
    with pytest.raises(predictions.MalformedError):
        oip.parse_request(document, SIGNATURE)


@pytest.mark.parametrize(
    ("inputs", "row", "column"),
    [
        ([tensor("a", [1.0, None])], 1, "a"),
        ([tensor("a", [1.0, "x"])], 1, "a"),
        ([tensor("X", [1.0, True], [1, 2])], 0, "b"),
        ([tensor("A", [1.0])], None, "A"),
        ([tensor("b", [1.0])], None, "a"),
        ([tensor("a", [True], datatype="BOOL")], None, "a"),
        ([tensor("a", [], [0])], None, None),
        ([tensor("X", [], [0, 2])], None, None),
    ],
)
def test_a_value_that_is_not_allowed_is_named(inputs: list[Any], row: int | None, column: str | None) -> None:
    with pytest.raises(predictions.RowError) as caught:
        parse(*inputs)

    assert (row, column) == (caught.value.row, caught.value.column)


def test_metadata_lists_the_tensors_of_the_signature() -> None:
    found = oip.model_metadata(model="m", version="v", platform="p", signature=SIGNATURE)

    assert [
        {"name": "a", "datatype": "FP64", "shape": [-1]},
        {"name": "b", "datatype": "FP64", "shape": [-1]},
    ] == found["inputs"]
    assert ["v"] == found["versions"]


KINDS = st.sampled_from(sorted(release.Datatype))
PLAIN = (
    st.booleans()
    | st.integers()
    | st.integers(2**63 - 2, 2**64)
    | st.floats()
    | st.sampled_from([10**400, 3.5e38, "\ud800", "", "x"])
)


@given(KINDS, st.lists(PLAIN, min_size=1, max_size=3) | st.lists(st.floats(), min_size=1, max_size=3))
def test_a_list_looked_at_as_a_whole_is_what_each_of_its_values_is(
    datatype: release.Datatype, values: list[Any]
) -> None:
    column = release.Column(name="v", datatype=datatype)

    quickly = oip_tensors._taken_quickly(column, values)

    if quickly is not None:
        slowly = [predictions.check_value(column, value, 0) for value in values]
        assert slowly == quickly
        assert [type(value) for value in slowly] == [type(value) for value in quickly]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
ANYTHING = st.recursive(
    VALUES,
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "shape", "datatype", "data", "id"]), children, max_size=5
        )
    ),
    max_leaves=25,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "X", ""]),
        "shape": st.lists(st.integers(-1, 3), max_size=3) | ANYTHING,
        "datatype": st.sampled_from(["FP64", "INT64", "BOOL", "BYTES", "?"]),
        "data": st.lists(VALUES | st.lists(VALUES, max_size=2), max_size=4) | ANYTHING,
    }
)


@given(ANYTHING | st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=3), "outputs": ANYTHING}))
def test_whatever_document_comes_it_is_read_or_refused(document: Any) -> None:
    try:
        request = oip.parse_request(document, SIGNATURE)
    except errors.ConfigError:
        return
    assert request.rows
    assert all(len(row) == len(SIGNATURE.inputs) for row in request.rows)
