"""Infer requests read without a signature, as a fallback has none."""

from __future__ import annotations

import pytest

from softlaunch.core import oip, predictions


def tensor(name: str, shape: list[int], data: list[object], datatype: str = "FP64") -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_columns_have_the_inputs_names_and_a_matrix_the_features() -> None:
    by_name = oip.parse_untyped({"inputs": [tensor("a", [2], [1, 2]), tensor("b", [2, 1], [3, 4])]}, ("a", "b"))
    matrix = oip.parse_untyped({"inputs": [tensor("all", [2, 2], [1, 3, 2, 4])]}, ("a", "b"))
    sole = oip.parse_untyped({"inputs": [tensor("X", [2, 1], [1, 2])]}, ("a",))

    assert [{"a": 1, "b": 3}, {"a": 2, "b": 4}] == by_name.rows == matrix.rows
    assert [{"a": 1}, {"a": 2}] == sole.rows


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": [tensor("a", [0], [])]},
        {"inputs": [tensor("a", [1], [1]), tensor("b", [2], [1, 2])]},
        {"inputs": [tensor("a", [1, 3], [1, 2, 3])]},
    ],
)
def test_what_has_no_rows_or_names_is_refused(document: object) -> None:
    with pytest.raises((predictions.MalformedError, predictions.RowError)):
        oip.parse_untyped(document)


@pytest.mark.parametrize(
    ("values", "datatype"),
    [([True, None], "BOOL"), ([1, 2], "INT64"), ([1, 2.5], "FP64"), (["x", None], "BYTES"), ([None], "BYTES")],
)
def test_an_output_s_datatype_is_that_of_its_values(values: list[object], datatype: str) -> None:
    request = oip.UntypedRequest(rows=[{}] * len(values), id=None, outputs=())
    answer = oip.untyped_response(model="m", request=request, rows=[{"y": value} for value in values])

    assert [{"name": "y", "shape": [len(values)], "datatype": datatype, "data": values}] == answer["outputs"]
