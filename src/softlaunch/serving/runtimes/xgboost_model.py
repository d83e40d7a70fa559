"""
XGBoost models from XGBoost's own files (.ubj, .json).

Rows become one float32 matrix in the signature's order, which is all XGBoost computes with; missing values are NaN. A
model that was stopped early answers with its best round when XGBoost's scikit-learn classes wrote the file, as they do,
and with all rounds otherwise, as a Booster does.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xgboost

from softlaunch.core import boosting, predictions, release
from softlaunch.serving.runtimes import model


class XgboostModel:
    """See model.Model."""

    platform = "xgboost_native"

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the file is no XGBoost model, or not the one the signature describes.
        """
        self._signature = signature
        self._booster = _opened(path)
        self._booster.set_param({"nthread": thread_count, "device": "cpu"})
        _check_features(self._booster, signature)
        self.float32_names = frozenset(column.name for column in signature.inputs)
        learner = json.loads(self._booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        self._answering = boosting.of_xgboost(objective, int(learner["learner_model_param"]["num_class"]))
        if objective == "multi:softmax":  # the same model, told to answer what it takes the largest of
            self._booster.set_param({"objective": "multi:softprob"})
        self._rounds = _rounds(self._booster)
        self._in_place = learner["gradient_booster"]["name"] == "gbtree"

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        matrix = np.array(rows, dtype=np.float32)
        if self._in_place:
            raw = self._booster.inplace_predict(matrix, iteration_range=self._rounds, validate_features=False)
        else:
            raw = self._booster.predict(xgboost.DMatrix(matrix), iteration_range=self._rounds, validate_features=False)
        return boosting.answered(self._signature.outputs, np.asarray(raw), self._answering)


def load(found: model.Loading) -> XgboostModel:
    """See unpacked.load_model."""
    return XgboostModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def _opened(path: pathlib.Path) -> Any:
    try:
        return xgboost.Booster(model_file=str(path))
    except xgboost.core.XGBoostError as error:
        raise model.unloadable(
            f"{path.name} is not a model that XGBoost {xgboost.__version__} loads ({model.one_line(error)}).",
            remedy="Write it with save_model('model.ubj') under the version the lock file pins, and build again.",
        ) from error


def _rounds(booster: Any) -> tuple[int, int]:
    best = booster.attr("best_iteration")
    if best is None or booster.attr("scikit_learn") is None:
        return 0, 0
    return 0, int(best) + 1


def _check_features(booster: Any, signature: release.Signature) -> None:
    names = [column.name for column in signature.inputs]
    if booster.num_features() != len(names):
        raise model.mismatch(f"The model takes {booster.num_features()} features, the signature has {len(names)}.")
    if booster.feature_names is not None and list(booster.feature_names) != names:
        odd = sorted(set(booster.feature_names) ^ set(names)) or list(booster.feature_names)
        raise model.mismatch(f"The model was trained on other features than the signature has: {odd!r:.200}.")
    for column in signature.inputs:
        if column.datatype is release.Datatype.BYTES:
            raise model.unloadable(
                f"Feature {column.name!r} is text, and XGBoost's files take numbers only.",
                remedy="Encode it in a scikit-learn pipeline around the model and dump that with joblib,"
                " or name the columns of numbers under `model.features`.",
            )
