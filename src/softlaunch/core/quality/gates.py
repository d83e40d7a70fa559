"""Quality gates: a model's answers on the holdout against the thresholds of softlaunch.yaml."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import predictions, release, spec
from softlaunch.core.quality import metrics

DECIMALS = 6
"""Gate values are part of a release's digest: digits below this differ between processors for the same model."""

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """
    What the model said about the holdout, in the forms metrics need; None where it says nothing of the kind.

    labels and truth are class positions when `classes` is set, numbers else.
    """

    truth: metrics.Array
    labels: metrics.Array | None = None
    probabilities: metrics.Array | None = None
    values: metrics.Array | None = None


def judge(gate: spec.QualityGate, answers: Answers) -> release.GateResult:
    """
    The gate's result on these answers.

    Raises:
        UndefinedError: the metric needs what the model does not answer, or has no value on these rows.
    """
    metric = metrics.METRICS.get(gate.metric)
    if metric is None:
        raise metrics.UndefinedError("there is no such metric")
    given = {
        metrics.Needs.PROBABILITIES: answers.probabilities,
        metrics.Needs.LABELS: answers.labels,
        metrics.Needs.VALUES: answers.values,
    }[metric.needs]
    if given is None:
        raise metrics.UndefinedError(f"it needs {metric.needs}, which the model does not answer")
    value = round(metric.function(answers.truth, given), DECIMALS)
    return release.GateResult(
        name=gate.metric,
        passed=_OPERATORS[gate.operator](value, gate.threshold),
        value=value,
        threshold=f"{gate.operator} {gate.threshold:g}",
    )


def answers_of(
    columns: Mapping[str, metrics.Array],
    outputs: Sequence[release.Column],
    *,
    label: str,
    truth: metrics.Array,
    classes: Sequence[Any] | None,
) -> Answers:
    """
    A model's output columns, told apart by the names core.predictions gives them.

    A Python class may name its outputs as it likes: one called like the label column, or its only one, is then the
    number answered, and an event's probability when the truth knows two values and the answers lie between 0 and 1.

    Args:
        columns: Outputs by name, each of shape [N].
        outputs: The signature's outputs.
        label: Name of the label column.
        truth: The label column, without missing values.
        classes: The classifier's classes in its order; None when unknown.

    Raises:
        UndefinedError: a label of the holdout is none of the model's classes.
    """
    names = [column.name for column in outputs]
    scores = [name for name in names if name.startswith(f"{predictions.PROBABILITY}_")]
    if not scores and predictions.PROBABILITY not in names and predictions.LABEL not in names:
        return _numbers(columns, names, label=label, truth=truth)
    known = (
        list(classes) if classes is not None else sorted(set(truth.tolist()), key=lambda each: (str(type(each)), each))
    )
    positions = _positions(truth, known)
    matrix = None
    if predictions.PROBABILITY in names:
        event = np.asarray(columns[predictions.PROBABILITY], dtype=np.float64)
        matrix = np.column_stack([1 - event, event])
    elif scores:
        matrix = np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in scores])
    labels = None
    if predictions.LABEL in names:
        labels = _positions(np.asarray(columns[predictions.LABEL]), known, strict=False)
    elif matrix is not None:
        labels = matrix.argmax(axis=1)
    return Answers(truth=positions, labels=labels, probabilities=matrix)


def _numbers(
    columns: Mapping[str, metrics.Array], names: Sequence[str], *, label: str, truth: metrics.Array
) -> Answers:
    chosen = next((name for name in (predictions.PREDICTION, label) if name in names), None)
    if chosen is None and len(names) == 1:
        chosen = names[0]
    if chosen is None:
        raise metrics.UndefinedError(f"none of the outputs {', '.join(names)} is called 'prediction' or {label!r}")
    answer = np.asarray(columns[chosen])
    if answer.dtype.kind not in "fiub" or truth.dtype.kind not in "fiub":
        known = sorted({str(each) for each in truth.tolist()} | {str(each) for each in answer.tolist()})
        as_text = [np.array([str(each) for each in found.tolist()], dtype=object) for found in (truth, answer)]
        return Answers(truth=_positions(as_text[0], known), labels=_positions(as_text[1], known))
    values = answer.astype(np.float64)
    numbers = truth.astype(np.float64)
    if set(np.unique(numbers).tolist()) <= {0.0, 1.0} and bool(((values >= 0) & (values <= 1)).all()):
        return Answers(
            truth=numbers.astype(np.int64),
            labels=(values >= 0.5).astype(np.int64),
            probabilities=np.column_stack([1 - values, values]),
            values=values,
        )
    return Answers(truth=numbers, values=values)


def _positions(found: metrics.Array, classes: Sequence[Any], *, strict: bool = True) -> metrics.Array:
    # 1, 1.0 and True are one key; so a bool label column fits a model trained on 0 and 1, as it does in scikit-learn.
    places = {each: position for position, each in enumerate(classes)}
    try:
        return np.array(
            [places[each] if strict else places.get(each, len(classes)) for each in found.tolist()], dtype=np.int64
        )
    except KeyError as error:
        shown = ", ".join(repr(each) for each in list(classes)[:10])
        raise metrics.UndefinedError(f"the label {error.args[0]!r} is none of the model's classes ({shown})") from error
