from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from softlaunch.core.quality import metrics

RNG = np.random.default_rng(2013)
TRUTH = RNG.integers(0, 2, 500)
SCORES = np.round(np.clip(TRUTH * 0.2 + RNG.normal(0.4, 0.25, 500), 0, 1), 1)  # one decimal: many ties, some 0 and 1
PROBABILITIES = np.column_stack([1 - SCORES, SCORES])
LABELS = (SCORES > 0.5).astype(int)
TRUTH3 = RNG.integers(0, 3, 400)
LABELS3 = np.where(RNG.random(400) < 0.6, TRUTH3, RNG.integers(0, 3, 400))
NUMBERS = RNG.normal(10, 3, 300)
GUESSES = NUMBERS + RNG.normal(0, 1, 300)


@pytest.mark.parametrize(
    ("ours", "theirs", "truth", "answer", "their_answer"),
    [
        (metrics.roc_auc, sklearn.metrics.roc_auc_score, TRUTH, PROBABILITIES, SCORES),
        (metrics.brier, sklearn.metrics.brier_score_loss, TRUTH, PROBABILITIES, SCORES),
        (metrics.log_loss, sklearn.metrics.log_loss, TRUTH, PROBABILITIES, PROBABILITIES),
        (metrics.accuracy, sklearn.metrics.accuracy_score, TRUTH, LABELS, LABELS),
        (metrics.precision, sklearn.metrics.precision_score, TRUTH, LABELS, LABELS),
        (metrics.recall, sklearn.metrics.recall_score, TRUTH, LABELS, LABELS),
        (metrics.f1, sklearn.metrics.f1_score, TRUTH, LABELS, LABELS),
        (metrics.mae, sklearn.metrics.mean_absolute_error, NUMBERS, GUESSES, GUESSES),
        (metrics.rmse, sklearn.metrics.root_mean_squared_error, NUMBERS, GUESSES, GUESSES),
        (metrics.r2, sklearn.metrics.r2_score, NUMBERS, GUESSES, GUESSES),
    ],
)
def test_metrics_agree_with_scikit_learn(ours, theirs, truth, answer, their_answer) -> None:
    assert ours(truth, answer) == pytest.approx(theirs(truth, their_answer), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.precision, sklearn.metrics.precision_score),
        (metrics.recall, sklearn.metrics.recall_score),
        (metrics.f1, sklearn.metrics.f1_score),
    ],
)
def test_several_classes_are_averaged_as_macro(ours, theirs) -> None:
    assert ours(TRUTH3, LABELS3) == pytest.approx(theirs(TRUTH3, LABELS3, average="macro"), abs=1e-12)


def test_scores_that_are_all_equal_tell_nothing() -> None:
    assert metrics.roc_auc(np.array([0, 1, 1, 0]), np.full((4, 2), 0.5)) == 0.5


@pytest.mark.parametrize(
    ("metric", "truth", "answer", "why"),
    [
        (metrics.roc_auc, np.ones(3, dtype=int), np.full((3, 2), 0.5), "same label"),
        (metrics.roc_auc, TRUTH3, np.full((400, 3), 1 / 3), "two classes"),
        (metrics.r2, np.ones(3), np.zeros(3), "same label"),
        (metrics.accuracy, np.zeros(0), np.zeros(0), "no rows"),
    ],
)
def test_a_metric_without_a_value_says_why(metric, truth, answer, why) -> None:
    with pytest.raises(metrics.UndefinedError, match=why):
        metric(truth, answer)
