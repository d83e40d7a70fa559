"""
Rows in, answers out: how JSON rows become a model's columns, and how a model's answer becomes a release's outputs.

Pure functions over a Signature. The builder writes signatures with `classifier_outputs` and `regressor_outputs`; the
model server answers by `answer_columns`, so both agree on names and order:

    binary classifier       label, probability          (probability of the second class, the greater one)
    multiclass classifier   label, probability_CLASS    (one per class, in the order of classes_)
    regressor               prediction                  (prediction_0, prediction_1, ... when there are several targets)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.core import release

LABEL = "label"
PROBABILITY = "probability"
PREDICTION = "prediction"

Columns = Mapping[str, np.ndarray[Any, Any]]
"""
Values by column name, each of shape [N]: bool, int64, float32 or float64, and object arrays of str for BYTES.

A missing value is NaN in floats and None in BYTES; a nullable INT64 or BOOL column is float64, as in pandas.
"""


def classifier_outputs(classes: Sequence[Any], *, probabilities: bool = True) -> tuple[release.Column, ...]:
    """
    Outputs of a classifier, from its `classes_`.

    Args:
        classes: bool, int, whole float or str, in the model's order; at least two.
        probabilities: False for a model without predict_proba, which answers the label only.

    Raises:
        ConfigError: fewer than two classes, or classes of another or of mixed type.
    """
    found = [each.item() if isinstance(each, np.generic) else each for each in classes]
    if len(found) < 2:
        raise _classes_unsupported(found, "there are fewer than two")
    label = release.Column(name=LABEL, datatype=_label_datatype(found))
    if not probabilities:
        return (label,)
    if len(found) == 2:
        return label, _probability(PROBABILITY)
    shown = [str(int(each)) if isinstance(each, float) else str(each) for each in found]
    return label, *(_probability(f"{PROBABILITY}_{each}") for each in shown)


def regressor_outputs(target_count: int = 1) -> tuple[release.Column, ...]:
    """Outputs of a regressor: finite, without bounds."""
    names = [PREDICTION] if target_count == 1 else [f"{PREDICTION}_{number}" for number in range(target_count)]
    return tuple(release.Column(name=name, datatype=release.Datatype.FP64) for name in names)


def answer_columns(
    outputs: Sequence[release.Column],
    *,
    labels: np.ndarray[Any, Any] | None = None,
    probabilities: np.ndarray[Any, Any] | None = None,
    values: np.ndarray[Any, Any] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """
    Raw arrays of a model, laid out under the names of the signature; a name nothing was given for is left out.

    Args:
        outputs: The signature's outputs, as made by `classifier_outputs` or `regressor_outputs`.
        labels: Shape [N] or [N, 1].
        probabilities: Shape [N, classes], or [N] or [N, 1] holding the second class alone.
        values: A regressor's answer, shape [N] or [N, targets].
    """
    columns: dict[str, np.ndarray[Any, Any]] = {}
    scores = [found.name for found in outputs if found.name == PROBABILITY or found.name.startswith(f"{PROBABILITY}_")]
    targets = [found.name for found in outputs if found.name == PREDICTION or found.name.startswith(f"{PREDICTION}_")]
    for found in outputs:
        if found.name == LABEL and labels is not None:
            flat = labels.reshape(-1)
            columns[LABEL] = flat.astype(bool) if found.datatype is release.Datatype.BOOL else flat
    if probabilities is not None and scores:
        matrix = probabilities.reshape(len(probabilities), -1)
        if scores == [PROBABILITY]:
            columns[PROBABILITY] = matrix[:, -1]
        elif matrix.shape[1] == len(scores):
            columns.update({name: matrix[:, number] for number, name in enumerate(scores)})
    if values is not None and targets:
        matrix = values.reshape(len(values), -1)
        if matrix.shape[1] == len(targets):
            columns.update({name: matrix[:, number] for number, name in enumerate(targets)})
    return columns


def _probability(name: str) -> release.Column:
    return release.Column(name=name, datatype=release.Datatype.FP64, minimum=0.0, maximum=1.0)


def _label_datatype(classes: Sequence[Any]) -> release.Datatype:
    if all(isinstance(each, bool) for each in classes):
        return release.Datatype.BOOL
    if all(isinstance(each, str) for each in classes):
        return release.Datatype.BYTES
    whole = [
        not isinstance(each, bool) and isinstance(each, int | float) and math.isfinite(each) and each == int(each)
        for each in classes
    ]
    if all(whole):
        return release.Datatype.INT64
    raise _classes_unsupported(classes, "they are not all bool, all whole numbers or all text")


def _classes_unsupported(classes: Sequence[Any], why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The classifier's classes {list(classes)!r:.200} cannot be served: {why}.",
        remedy="Train with two or more classes that are all bool, all whole numbers or all text.",
        code=errors.Code.CLASSES_UNSUPPORTED,
    )
