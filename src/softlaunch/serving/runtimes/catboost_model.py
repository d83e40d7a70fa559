"""
CatBoost models from CatBoost's own file (.cbm).

Rows become a Pool with the categorical features the model was trained with. CatBoost knows no missing category: a
missing one is the empty string, as `fillna("")` writes it before training. Missing numbers are NaN.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import catboost
import numpy as np

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import model

_EXPONENT = ("Poisson", "Tweedie")
"""Losses whose raw values are logarithms; CatBoostRegressor.predict answers their exponents as well."""


class CatboostModel:
    """See model.Model."""

    platform = "catboost_cbm"
    cost = None

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the file is not a CatBoost model, or not the one the signature describes.
        """
        self._signature = signature
        self._threads = thread_count
        self._model = _loaded(path)
        self._categories = tuple(self._model.get_cat_feature_indices())
        _check_features(self._model, self._categories, signature)
        self.float32_names = frozenset(
            column.name for place, column in enumerate(signature.inputs) if place not in self._categories
        )
        loss = str((self._model.get_all_params() or {}).get("loss_function", ""))
        self._value_kind = "Exponent" if loss.startswith(_EXPONENT) else "RawFormulaVal"
        outputs = [column.name for column in signature.outputs]
        self._labelled = predictions.LABEL in outputs
        self._scored = any(name.startswith(predictions.PROBABILITY) for name in outputs)

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        if self._categories:
            asked: Any = catboost.Pool([self._filled(row) for row in rows], cat_features=list(self._categories))
        else:
            asked = np.array(rows, dtype=np.float32)
        found: dict[str, Any] = {}
        if self._labelled:
            found["labels"] = _column(self._predicted(asked, "Class"))
        if self._scored:
            found["probabilities"] = self._predicted(asked, "Probability")
        if not found:
            found["values"] = self._predicted(asked, self._value_kind)
        return predictions.answer_columns(self._signature.outputs, **found)

    def _predicted(self, asked: Any, kind: str) -> np.ndarray[Any, Any]:
        return np.asarray(self._model.predict(asked, prediction_type=kind, thread_count=self._threads))

    def _filled(self, row: predictions.Row) -> list[Any]:
        filled = list(row)
        for place in self._categories:
            filled[place] = _category(filled[place])
        return filled


def load(found: model.Loading) -> CatboostModel:
    """See unpacked.load_model."""
    return CatboostModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def _loaded(path: pathlib.Path) -> Any:
    try:
        return catboost.CatBoost().load_model(str(path), format="cbm")
    except catboost.CatBoostError as error:
        raise model.unloadable(
            f"{path.name} is not a model that CatBoost {catboost.__version__} loads ({model.one_line(error)}).",
            remedy="Write it with model.save_model('model.cbm') under the version the requirements pin, build again.",
        ) from error


def _check_features(found: Any, categories: Sequence[int], signature: release.Signature) -> None:
    count = len(found.feature_names_)
    if count != len(signature.inputs):
        raise model.mismatch(f"The model was fitted on {count} features, the signature has {len(signature.inputs)}.")
    for place, column in enumerate(signature.inputs):
        if column.datatype is release.Datatype.BYTES and place not in categories:
            raise model.mismatch(
                f"Feature {column.name!r} is {column.datatype}, but the model was not fitted with it as a category."
            )


def _category(value: Any) -> Any:
    """As CatBoost hashes categories: 3.0 of a column with holes is the category 3 it was trained on."""
    if value is None:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else str(value)


def _column(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Labels as answers are checked: CatBoost spells booleans as text."""
    flat = labels.reshape(-1)
    if flat.dtype.kind in "US" and set(flat.tolist()) <= {"True", "False"}:
        return np.array(flat == "True")
    return flat
