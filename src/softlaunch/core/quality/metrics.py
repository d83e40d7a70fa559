"""
Quality metrics against ground truth, as scikit-learn defines them.

Classifiers are scored on class positions: 0 to K-1 in the model's order, position 1 being the event of a binary one. An
undefined metric (one class only, no rows) raises Undefined with the reason; it is never 0, 1 or NaN. precision, recall
and f1 of more than two classes are means over the classes, each counting the same ("macro").
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


class UndefinedError(ValueError):
    """The metric has no value on these rows; the message is a clause saying why."""


class Needs(enum.StrEnum):
    PROBABILITIES = "probabilities"
    LABELS = "labels"
    VALUES = "values"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    needs: Needs
    higher_is_better: bool
    function: Callable[[Array, Array], float]
    """(truth, answer): class positions [N] and probabilities [N, K]; positions and positions; numbers and numbers."""


def roc_auc(truth: Array, probabilities: Array) -> float:
    """
    Probability that a random event outscores a random non-event, a tie counting one half.

    Source: Hanley and McNeil (1982); the Mann-Whitney statistic over mid-ranks.
    """
    _need_rows(truth)
    scores = _event_scores(probabilities, "roc_auc")
    events = truth == 1
    event_count = int(events.sum())
    other_count = len(truth) - event_count
    if event_count == 0 or other_count == 0:
        raise UndefinedError("every row has the same label")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    above = float(ranks[events].sum()) - event_count * (event_count + 1) / 2
    return above / (event_count * other_count)


def brier(truth: Array, probabilities: Array) -> float:
    """Mean squared distance of the event's probability from what happened."""
    _need_rows(truth)
    return float(np.mean((_event_scores(probabilities, "brier") - (truth == 1)) ** 2))


def log_loss(truth: Array, probabilities: Array) -> float:
    """Mean of -log(probability given to what happened), in nats; probabilities are kept one ulp off 0 and 1."""
    _need_rows(truth)
    smallest = np.finfo(probabilities.dtype).eps
    given = np.clip(probabilities, smallest, 1 - smallest)
    given = given / given.sum(axis=1, keepdims=True)
    return float(-np.mean(np.log(given[np.arange(len(truth)), truth])))


def accuracy(truth: Array, labels: Array) -> float:
    """Share of rows given their own label."""
    _need_rows(truth)
    return float(np.mean(truth == labels))


def precision(truth: Array, labels: Array) -> float:
    """Of the rows called events, the share that were; 0 when none was called."""
    return _over_classes(truth, labels, lambda hit, called, _: hit / called if called else 0.0)


def recall(truth: Array, labels: Array) -> float:
    """Of the events, the share that was called; 0 when there was none."""
    return _over_classes(truth, labels, lambda hit, _, there: hit / there if there else 0.0)


def f1(truth: Array, labels: Array) -> float:
    """Harmonic mean of precision and recall."""
    return _over_classes(
        truth, labels, lambda hit, called, there: 2 * hit / (called + there) if called + there else 0.0
    )


def mae(truth: Array, values: Array) -> float:
    """Mean absolute error."""
    _need_rows(truth)
    return float(np.mean(np.abs(truth - values)))


def rmse(truth: Array, values: Array) -> float:
    """Root of the mean squared error."""
    _need_rows(truth)
    return float(np.sqrt(np.mean((truth - values) ** 2)))


def r2(truth: Array, values: Array) -> float:
    """Share of the variance explained; 0 for the mean, negative when worse than the mean."""
    _need_rows(truth)
    spread = float(np.sum((truth - truth.mean()) ** 2))
    if spread == 0:
        raise UndefinedError("every row has the same label")
    return 1 - float(np.sum((truth - values) ** 2)) / spread


METRICS: Mapping[str, Metric] = {
    "roc_auc": Metric(needs=Needs.PROBABILITIES, higher_is_better=True, function=roc_auc),
    "brier": Metric(needs=Needs.PROBABILITIES, higher_is_better=False, function=brier),
    "log_loss": Metric(needs=Needs.PROBABILITIES, higher_is_better=False, function=log_loss),
    "accuracy": Metric(needs=Needs.LABELS, higher_is_better=True, function=accuracy),
    "precision": Metric(needs=Needs.LABELS, higher_is_better=True, function=precision),
    "recall": Metric(needs=Needs.LABELS, higher_is_better=True, function=recall),
    "f1": Metric(needs=Needs.LABELS, higher_is_better=True, function=f1),
    "mae": Metric(needs=Needs.VALUES, higher_is_better=False, function=mae),
    "rmse": Metric(needs=Needs.VALUES, higher_is_better=False, function=rmse),
    "r2": Metric(needs=Needs.VALUES, higher_is_better=True, function=r2),
}


def _need_rows(truth: Array) -> None:
    if len(truth) == 0:
        raise UndefinedError("there are no rows")


def _event_scores(probabilities: Array, name: str) -> Array:
    if probabilities.shape[1] != 2:
        raise UndefinedError(f"{name} is for two classes and the model has {probabilities.shape[1]}")
    scores: Array = probabilities[:, 1]
    return scores


def _over_classes(truth: Array, labels: Array, score: Callable[[int, int, int], float]) -> float:
    _need_rows(truth)
    found = np.unique(np.concatenate([truth, labels]))
    # scikit-learn's own two conventions: the event alone for two classes, every class that occurs for more.
    classes = [1] if found.max() <= 1 else found.tolist()
    scores = [
        score(int(((truth == each) & (labels == each)).sum()), int((labels == each).sum()), int((truth == each).sum()))
        for each in classes
    ]
    return float(np.mean(scores))
