from __future__ import annotations

import json
from typing import Any

import pytest

from softlaunch.core.shadow import agreement, answer_rows

EXACT = agreement.Rule()


def predict(*rows: dict[str, Any], release: str = "a") -> bytes:
    return json.dumps({"predictions": rows, "release": release}).encode()


def infer(version: str = "a", **columns: list[Any]) -> bytes:
    outputs = [{"name": name, "shape": [len(data)], "datatype": "FP64", "data": data} for name, data in columns.items()]
    return json.dumps({"model_name": "m", "model_version": version, "outputs": outputs}).encode()


def test_the_release_s_name_is_no_difference() -> None:
    assert agreement.difference(predict({"y": 1}), predict({"y": 1.0}, release="b"), EXACT) is None
    assert agreement.difference(infer(y=[1]), infer("b", y=[1]), EXACT) is None
    assert agreement.difference(b'{"prediction":{"y":1},"release":"a"}', predict({"y": 1}), EXACT) is None


def test_the_first_difference_is_named() -> None:
    found = agreement.difference(predict({"y": 1}, {"y": 2, "z": "a"}), predict({"y": 1}, {"y": 2, "z": "b"}), EXACT)

    assert agreement.Difference(path="[1].z", stable="'a'", candidate="'b'") == found


@pytest.mark.parametrize(
    ("left", "right", "tolerance", "agrees"),
    [
        (100.0, 101.0, 0.01, True),
        (100.0, 101.1, 0.01, False),
        (-1.0, 1.0, 0.5, False),
        (0.0, 1e-9, 0.5, False),
        (0.0, 0, 0.0, True),
        (True, 1, 0.5, False),
        (None, 0.0, 0.5, False),
        ("1", 1, 0.5, False),
    ],
)
def test_numbers_agree_within_the_tolerance_of_the_larger(left: Any, right: Any, tolerance: float, agrees: Any) -> None:
    for one, other in ((left, right), (right, left)):
        found = agreement.difference(predict({"y": one}), predict({"y": other}), agreement.Rule(tolerance=tolerance))
        assert agrees is (found is None)


@pytest.mark.parametrize(
    ("left", "right", "agrees"),
    [
        ({"label": 1, "probability": 0.9}, {"label": 1, "probability": 0.6}, True),
        ({"label": 1, "probability": 0.51}, {"label": 0, "probability": 0.49}, False),
        ({"probability": 0.9}, {"probability": 0.5}, True),
        ({"probability": 0.51}, {"probability": 0.49}, False),
        ({"probability_a": 0.5, "probability_b": 0.3}, {"probability_b": 0.1, "probability_a": 0.9}, True),
        ({"probability_a": 0.5, "probability_b": 0.3}, {"probability_a": 0.1, "probability_b": 0.9}, False),
        ({"y": [0.1, 0.7, 0.2]}, {"y": [0.3, 0.4, 0.3]}, True),
        ({"y": [0.1, 0.7, 0.2]}, {"y": [0.5, 0.4, 0.1]}, False),
        ({"price": 5.0}, {"price": 5.1}, False),
    ],
)
def test_of_classes_the_first_may_be_all_that_counts(left: Any, right: Any, agrees: Any) -> None:
    assert agrees is (agreement.difference(predict(left), predict(right), agreement.Rule(top_1=True)) is None)


def test_answers_of_different_length_differ() -> None:
    found = agreement.difference(predict({"y": 1}), predict({"y": 1}, {"y": 1}), EXACT)

    assert found is not None
    assert ("1 rows", "2 rows") == (found.stable, found.candidate)


def test_a_missing_output_is_a_difference_on_either_side() -> None:
    for left, right in (({"y": 1}, {}), ({}, {"y": 1})):
        found = agreement.difference(predict(left), predict(right), EXACT)
        assert found is not None
        assert "absent" in (found.stable, found.candidate)


def test_any_other_json_is_compared_as_it_is_and_anything_else_byte_by_byte() -> None:
    assert agreement.difference(b'{"score": 1, "id": "x"}', b'{"id": "y", "score":1}', EXACT) is None
    assert agreement.difference(b"[1, 2]", b"[1, 3]", EXACT) is not None
    assert agreement.difference(b"\xff", b"\xff", EXACT) is None
    assert agreement.difference(b"\xff", b"{}", EXACT) is not None


def test_a_matrix_gives_each_row_a_list() -> None:
    tensor = {"name": "p", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}

    assert [{"p": [1, 2]}, {"p": [3, 4]}] == answer_rows.rows(json.dumps({"outputs": [tensor]}).encode())


@pytest.mark.parametrize("outputs", [[1], [{"name": "p"}], [{"name": "p", "shape": [3], "data": [1, 2]}], []])
def test_what_is_no_answer_has_no_rows(outputs: Any) -> None:
    assert answer_rows.rows(json.dumps({"outputs": outputs}).encode()) is None
