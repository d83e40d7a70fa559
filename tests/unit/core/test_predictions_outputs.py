from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softlaunch import errors
from softlaunch.core import answers, predictions, release

BINARY = predictions.classifier_outputs([0, 1])
FP64, INT64 = release.Datatype.FP64, release.Datatype.INT64


def names(columns: tuple[release.Column, ...]) -> list[str]:
    return [column.name for column in columns]


def test_a_binary_classifier_answers_label_and_one_probability() -> None:
    assert ["label", "probability"] == names(BINARY)
    assert (0.0, 1.0) == (BINARY[1].minimum, BINARY[1].maximum)


def test_a_multiclass_classifier_answers_one_probability_per_class() -> None:
    outputs = predictions.classifier_outputs(np.array(["ewr", "jfk", "lga"]))

    assert ["label", "probability_ewr", "probability_jfk", "probability_lga"] == names(outputs)


@pytest.mark.parametrize(
    ("classes", "datatype"),
    [
        ([False, True], release.Datatype.BOOL),
        (np.array([0, 1, 2]), INT64),
        (np.array([0.0, 1.0]), INT64),
        (["no", "yes"], release.Datatype.BYTES),
    ],
)
def test_the_label_has_the_datatype_of_the_classes(classes: Any, datatype: release.Datatype) -> None:
    assert datatype is predictions.classifier_outputs(classes)[0].datatype


def test_without_probabilities_there_is_only_the_label() -> None:
    assert ["label"] == names(predictions.classifier_outputs([0, 1, 2], probabilities=False))


@pytest.mark.parametrize("classes", [[], [1], [0.5, 1.5], [0, "a"], [True, 1], [None, 1], [float("nan"), 1.0]])
def test_classes_that_are_few_fractional_or_mixed_are_refused(classes: list[Any]) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        predictions.classifier_outputs(classes)

    assert errors.Code.CLASSES_UNSUPPORTED is caught.value.code


def test_regressors_answer_prediction_or_one_per_target() -> None:
    assert ["prediction"] == names(predictions.regressor_outputs())
    assert ["prediction_0", "prediction_1"] == names(predictions.regressor_outputs(2))


def test_the_probability_is_that_of_the_second_class() -> None:
    columns = predictions.answer_columns(
        BINARY, labels=np.array([0, 1]), probabilities=np.array([[0.75, 0.25], [0.25, 0.75]])
    )

    assert [0, 1] == columns["label"].tolist()
    assert [0.25, 0.75] == columns["probability"].tolist()


def test_integer_labels_of_a_boolean_classifier_become_boolean() -> None:
    outputs = predictions.classifier_outputs([False, True])

    assert [False, True] == predictions.answer_columns(outputs, labels=np.array([[0], [1]]))["label"].tolist()


def test_scores_of_another_width_are_left_out_so_that_the_answer_is_off_schema() -> None:
    outputs = predictions.classifier_outputs([0, 1, 2])

    columns = predictions.answer_columns(outputs, labels=np.array([0]), probabilities=np.array([[0.5, 0.5]]))

    assert ["label"] == list(columns)
    assert answers.check(outputs, columns, 1).shapeless


def test_several_targets_are_laid_out_in_order() -> None:
    columns = predictions.answer_columns(predictions.regressor_outputs(2), values=np.array([[1.0, 2.0]]))

    assert {"prediction_0": [1.0], "prediction_1": [2.0]} == {name: list(found) for name, found in columns.items()}


def test_a_good_answer_leaves_as_plain_values() -> None:
    answer = {"label": np.array([0, 1]), "probability": np.array([[0.5], [1.0]], dtype=np.float32)}

    checked = answers.check(BINARY, answer, 2)

    assert not checked.invalid
    assert {"label": [0, 1], "probability": [0.5, 1.0]} == checked.columns
    assert {int} == {type(each) for each in checked.columns["label"]}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 1.1, None, "0.5", True])
def test_only_the_bad_rows_of_an_answer_are_invalid(bad: Any) -> None:
    checked = answers.check(BINARY, {"label": [0, 1, 0], "probability": [0.5, bad, 0.5]}, 3)

    assert [1] == list(checked.invalid)
    assert "probability" == checked.invalid[1].output
    assert not checked.shapeless


def test_rounding_beyond_a_bound_is_not_invalid() -> None:
    answer = {"label": np.array([1]), "probability": np.array([1.0000001], dtype=np.float32)}

    assert not answers.check(BINARY, answer, 1).invalid


@pytest.mark.parametrize(
    "answer",
    [
        {"label": [0, 1]},
        {"label": [0, 1], "probability": [0.5]},
        {"label": [0, 1], "probability": np.zeros((2, 3))},
        {"label": [0, 1], "probability": 0.5},
        {"label": [0, 1], "probability": "ab"},
    ],
)
def test_an_answer_without_an_output_or_of_another_length_blames_no_single_row(answer: dict[str, Any]) -> None:
    checked = answers.check(BINARY, answer, 2)

    assert checked.shapeless
    assert [0, 1] == list(checked.invalid)


def test_a_nullable_output_may_be_missing() -> None:
    outputs = (release.Column(name="score", datatype=FP64, nullable=True),)

    checked = answers.check(outputs, {"score": np.array([1.0, np.nan])}, 2)

    assert not checked.invalid
    assert [1.0, None] == checked.columns["score"]


def test_text_labels_of_any_spelling_leave_as_text() -> None:
    outputs = predictions.classifier_outputs(["a", "b"], probabilities=False)

    for labels in (np.array(["a"]), np.array(["a"], dtype=object), [b"a"], [np.str_("a")]):
        assert ["a"] == answers.check(outputs, {"label": labels}, 1).columns["label"]
