"""What the objectives of XGBoost and LightGBM say about a model's answers; builder and model server agree by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import predictions, release


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answering:
    class_count: int
    """0: a regressor, or a score of which nothing more is known."""
    probabilities: bool = True
    """False: a classifier that answers classes only."""

    @property
    def classes(self) -> tuple[int, ...] | None:
        """The file keeps no names of classes: they are counted from 0, as training wants them."""
        return tuple(range(self.class_count)) if self.class_count else None


def of_xgboost(objective: str, class_count: int) -> Answering:
    """
    How a booster answers.

    Args:
        objective: Its name, such as binary:logistic.
        class_count: num_class; 0 or 1 where there are not several.
    """
    if objective == "binary:logistic":
        return Answering(class_count=2)
    if objective == "binary:hinge":
        return Answering(class_count=2, probabilities=False)
    if objective in {"multi:softprob", "multi:softmax"}:
        return Answering(class_count=max(2, class_count))
    return Answering(class_count=0)


def of_lightgbm(objective: str, class_count: int) -> Answering:
    """
    How a booster answers.

    Args:
        objective: First word of the file's objective, such as binary; empty for one of the user's own.
        class_count: num_class.
    """
    if objective == "binary":
        return Answering(class_count=2)
    if objective in {"multiclass", "multiclassova"}:
        return Answering(class_count=max(2, class_count))
    return Answering(class_count=0)


def answered(
    outputs: Sequence[release.Column], raw: np.ndarray[Any, Any], answering: Answering
) -> Mapping[str, np.ndarray[Any, Any]]:
    """What a booster's predict returned, shape [N] or [N, width], under the names of the signature."""
    if not answering.class_count:
        return predictions.answer_columns(outputs, values=raw)
    if not answering.probabilities:
        return predictions.answer_columns(outputs, labels=raw.astype(np.int64))
    # As the libraries' own classifiers: of two equal probabilities the first class wins.
    labels = raw > 0.5 if raw.ndim == 1 else raw.argmax(axis=1)
    return predictions.answer_columns(outputs, labels=labels.astype(np.int64), probabilities=raw)
