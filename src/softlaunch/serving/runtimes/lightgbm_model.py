"""
LightGBM models from LightGBM's own text file (.lgb, .txt).

Rows become one float64 matrix in the signature's order; missing values are NaN. Columns that were pandas categories in
training become the codes that the file keeps of them, and a value it does not know is missing, as LightGBM itself does
with a table of pandas.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np

from softlaunch.core import boosting, predictions, release
from softlaunch.serving.runtimes import model


class LightgbmModel:
    """See model.Model."""

    platform = "lightgbm_native"
    float32_names: frozenset[str] = frozenset()

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the file is no LightGBM model, or not the one the signature describes.
        """
        self._signature = signature
        self._thread_count = thread_count
        self._booster = _opened(path)
        self._codes = _codes(self._booster)
        _check_features(self._booster, signature, self._codes)
        objective = str(self._booster.params.get("objective", "")).split(" ")[0]
        self._answering = boosting.of_lightgbm(objective, self._booster.num_model_per_iteration())

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        if self._codes:
            columns = list(zip(*rows, strict=True))
            for place, codes in self._codes.items():
                columns[place] = tuple(codes.get(value, np.nan) for value in columns[place])
            matrix = np.array(columns, dtype=np.float64).T
        else:
            matrix = np.array(rows, dtype=np.float64)
        raw = self._booster.predict(np.ascontiguousarray(matrix), num_threads=self._thread_count)
        return boosting.answered(self._signature.outputs, np.asarray(raw), self._answering)


def load(found: model.Loading) -> LightgbmModel:
    """See unpacked.load_model."""
    return LightgbmModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def _opened(path: pathlib.Path) -> Any:
    try:
        return lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise model.unloadable(
            f"{path.name} is not a model that LightGBM {lightgbm.__version__} loads ({model.one_line(error)}).",
            remedy="Write it with booster.save_model('model.lgb') under the version the lock file pins.",
        ) from error


def _codes(booster: Any) -> dict[int, dict[Any, int]]:
    """By place of the feature: the code of each category."""
    categories = booster.pandas_categorical or []
    places = booster.params.get("categorical_feature") or []
    if len(categories) != len(places):
        if not categories:
            return {}  # numbers that are codes already
        raise model.unloadable(
            f"The model keeps categories of {len(categories)} columns and names {len(places)} of them.",
            remedy="Train on a table whose categorical columns are all of pandas' category type.",
        )
    return {
        int(place): {value: code for code, value in enumerate(values)}
        for place, values in zip(sorted(places), categories, strict=True)
    }


def _check_features(booster: Any, signature: release.Signature, codes: Mapping[int, Any]) -> None:
    names = [column.name for column in signature.inputs]
    if booster.num_feature() != len(names):
        raise model.mismatch(f"The model takes {booster.num_feature()} features, the signature has {len(names)}.")
    for place, column in enumerate(signature.inputs):
        if column.datatype is release.Datatype.BYTES and place not in codes:
            raise model.unloadable(
                f"Feature {column.name!r} is text, and the model was trained on numbers there.",
                remedy="Make it a pandas category before training, encode it in a scikit-learn pipeline and dump that"
                " with joblib, or name the columns of numbers under `model.features`.",
            )
