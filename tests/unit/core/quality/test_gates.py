from __future__ import annotations

import numpy as np
import pytest

from softlaunch.core import predictions, release, spec
from softlaunch.core.quality import gates, metrics


def answers(columns, outputs, truth, classes=None, label="late"):
    return gates.answers_of(
        {name: np.array(values) for name, values in columns.items()},
        outputs,
        label=label,
        truth=np.array(truth),
        classes=classes,
    )


def gate(metric, operator, threshold):
    return spec.QualityGate(metric=metric, operator=operator, threshold=threshold)


def test_a_binary_classifier_is_scored_on_its_second_class() -> None:
    outputs = predictions.classifier_outputs(["no", "yes"])
    found = answers(
        {"label": ["no", "yes", "yes"], "probability": [0.1, 0.9, 0.6]}, outputs, ["no", "yes", "no"], ["no", "yes"]
    )

    assert gates.judge(gate("accuracy", ">=", 0.5), found).passed
    assert gates.judge(gate("roc_auc", ">=", 0.99), found).value == 1.0
    assert gates.judge(gate("brier", "<=", 0.1), found).value == pytest.approx((0.01 + 0.01 + 0.36) / 3, abs=1e-6)


def test_labels_that_are_bools_fit_classes_that_are_numbers() -> None:
    found = answers(
        {"label": [0, 1], "probability": [0.2, 0.8]}, predictions.classifier_outputs([0, 1]), [False, True], [0, 1]
    )

    assert gates.judge(gate("accuracy", ">=", 1.0), found).passed


def test_an_unmet_threshold_keeps_its_value() -> None:
    found = answers({"prediction": [1.0, 2.0]}, predictions.regressor_outputs(), [1.0, 4.0])

    assert gates.judge(gate("mae", "<", 1.0), found) == release.GateResult(
        name="mae", passed=False, value=1.0, threshold="< 1"
    )


def test_a_python_classs_number_between_0_and_1_is_a_probability() -> None:
    outputs = (release.Column(name="late", datatype=release.Datatype.FP64),)
    found = answers({"late": [0.1, 0.7, 0.4]}, outputs, [0, 1, 1])

    assert gates.judge(gate("roc_auc", ">=", 0.5), found).value == 1.0
    assert gates.judge(gate("accuracy", ">=", 0.5), found).value == pytest.approx(2 / 3, abs=1e-6)


def test_a_metric_the_model_cannot_have_is_undefined() -> None:
    found = answers({"prediction": [1.5, 2.0]}, predictions.regressor_outputs(), [1.0, 4.0])

    with pytest.raises(metrics.UndefinedError, match="probabilities"):
        gates.judge(gate("roc_auc", ">=", 0.5), found)


def test_a_label_the_model_does_not_know_is_named() -> None:
    with pytest.raises(metrics.UndefinedError, match="maybe"):
        answers({"label": ["no"]}, predictions.classifier_outputs(["no", "yes"]), ["maybe"], ["no", "yes"])


def test_several_classes_are_taken_from_their_probabilities() -> None:
    outputs = predictions.classifier_outputs(["a", "b", "c"])[1:]
    columns = {"probability_a": [0.8, 0.1], "probability_b": [0.1, 0.7], "probability_c": [0.1, 0.2]}
    found = answers(columns, outputs, ["a", "c"], ["a", "b", "c"])

    assert gates.judge(gate("accuracy", ">=", 0.5), found).value == 0.5
    assert gates.judge(gate("log_loss", "<", 2.0), found).value == pytest.approx(
        -(np.log(0.8) + np.log(0.2)) / 2, abs=1e-6
    )


def test_classes_that_nobody_named_are_those_of_the_truth() -> None:
    found = answers({"label": [3, 7], "probability": [0.2, 0.8]}, predictions.classifier_outputs([0, 1]), [3, 7])

    assert gates.judge(gate("accuracy", ">=", 1.0), found).passed


def test_a_python_class_may_answer_text_or_numbers() -> None:
    text = (release.Column(name="when", datatype=release.Datatype.BYTES),)
    number = (
        release.Column(name="late", datatype=release.Datatype.FP64),
        release.Column(name="other", datatype=release.Datatype.FP64),
    )
    words = answers({"when": ["soon", "later"]}, text, ["soon", "soon"])
    minutes = answers({"late": [3.0, 9.0], "other": [0.0, 0.0]}, number, [3.0, 7.0])

    assert gates.judge(gate("accuracy", ">=", 0.5), words).value == 0.5
    assert gates.judge(gate("mae", "<=", 1.0), minutes).value == 1.0


def test_outputs_that_nobody_can_tell_apart_are_undefined() -> None:
    outputs = tuple(release.Column(name=name, datatype=release.Datatype.FP64) for name in ("a", "b"))

    with pytest.raises(metrics.UndefinedError, match="none of the outputs a, b"):
        answers({"a": [1.0], "b": [1.0]}, outputs, [1.0])
    with pytest.raises(metrics.UndefinedError, match="no such metric"):
        gates.judge(gate("gini", ">", 0.1), gates.Answers(truth=np.array([1])))
