from __future__ import annotations

import numpy as np

from softlaunch.core import predictions, release
from softlaunch.core.quality import parity

INPUTS = (
    release.Column(name="temp", datatype=release.Datatype.FP64, nullable=True),
    release.Column(name="hour", datatype=release.Datatype.INT64),
    release.Column(name="carrier", datatype=release.Datatype.BYTES),
)
OUTPUTS = predictions.classifier_outputs([0, 1])
ROWS = [(float(number), number, "UA") for number in range(40)]
CASES = parity.ordinary(ROWS, list(range(40)))


def answered(probabilities, labels=None, failed=None):
    labels = labels if labels is not None else [int((each or 0) > 0.5) for each in probabilities]
    return parity.Answered(columns={"label": labels, "probability": probabilities}, failed=failed or {})


def differ(left, right):
    return parity.compare(INPUTS, OUTPUTS, CASES[:2], left, right).disagreement


def test_equal_answers_agree() -> None:
    assert differ(answered([0.1, 0.9]), answered([0.10009, 0.9])) is None


def test_the_row_and_both_answers_are_named() -> None:
    said = "on reference row 1 its probability is 0.8 instead of 0.9; the row is {temp: 1.0, hour: 1, carrier: 'UA'}"

    assert said == differ(answered([0.1, 0.9]), answered([0.1, 0.8]))


def test_the_largest_difference_is_measured_where_they_agree_too() -> None:
    left, right = answered([0.1, 0.9]), answered([0.10001, 0.90005])

    found = parity.compare(INPUTS, OUTPUTS, CASES[:2], left, right)

    assert found.disagreement is None
    assert abs(found.largest - 5e-5) < 1e-12
    assert "probability on reference row 1" == found.largest_where
    assert 2 == found.row_count


def test_numbers_are_compared_by_the_size_of_ordinary_answers() -> None:
    outputs = predictions.regressor_outputs()
    cases = [*CASES[:2], parity.Case(row=ROWS[0], what="made", made=True)]

    def numbers(*values):
        return parity.Answered(columns={"prediction": values}, failed={})

    def disagreement(left, right):
        return parity.compare(INPUTS, outputs, cases, left, right).disagreement

    original = numbers(1e-7, 2.0, 1e12)
    assert disagreement(original, numbers(2e-7, 2.00005, 1e12 + 1e7)) is None
    assert disagreement(original, numbers(1e-7, 2.001, 1e12)) is not None
    assert disagreement(original, numbers(2e-4, 2.0, 1e12)) is not None


def test_labels_have_to_be_identical() -> None:
    assert "its label is 1 instead of 0" in (differ(answered([0.5, 0.9], [0, 1]), answered([0.5, 0.9], [1, 1])) or "")


def test_an_answer_where_the_original_raises_is_a_disagreement() -> None:
    failing = answered([0.1, None], failed={1: "it raises ValueError"})

    assert "the original does not" in (differ(failing, answered([0.1, 0.9])) or "")
    assert "it does not" in (differ(answered([0.1, 0.9]), failing) or "")
    assert differ(failing, failing) is None


def test_only_what_clients_may_send_is_constructed() -> None:
    made = parity.constructed(INPUTS, CASES, {})

    assert any(case.row[0] is None for case in made)
    assert all(case.row[1] is not None and case.row[2] is not None for case in made)
    assert any(case.row[2] == "softlaunch-unseen" for case in made)
    assert all(isinstance(case.row[1], int) for case in made)
    assert all(case.row[0] is None or np.isfinite(np.float32(case.row[0])) for case in made)


def asked_around(point: float, values: list[float]) -> set[float]:
    cases = parity.ordinary([(value, 1, "UA") for value in values], list(range(len(values))))
    return {case.row[0] for case in parity.constructed(INPUTS, cases, {0: [point]})}


def test_a_split_point_is_asked_on_itself_and_one_float32_step_beside() -> None:
    point = 39.47
    values = asked_around(point, [0.1, 0.2])

    assert point in values
    assert {float(np.nextafter(np.float32(point), np.float32(side))) for side in (-np.inf, np.inf)} <= values


def test_among_float32_numbers_a_split_point_is_asked_as_one() -> None:
    point = 39.47
    values = asked_around(point, [0.5, float(np.float32(0.1))])

    assert float(np.float32(point)) in values
    assert point not in values


def test_spaced_keeps_both_ends() -> None:
    assert parity.spaced(list(range(100)), 4) == [0, 33, 66, 99]
    assert parity.spaced([1, 2], 4) == [1, 2]
