"""
MLflow models: a directory with an MLmodel file, loaded by mlflow.pyfunc whatever its flavour.

Rows become a DataFrame with the columns and kinds of the model's own schema, or an array where that schema is a
tensor. Missing values are NaN, in text columns None. A classifier of scikit-learn's kind (classes_, predict_proba)
below the pyfunc is asked for its probabilities too, which pyfunc itself would leave out.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import model

KINDS: Mapping[str, str] = {
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "bool",
    "string": "object",
}
"""pandas' word for each of MLflow's types that rows can hold."""


class MlflowModel:
    """See model.Model."""

    platform = "mlflow_pyfunc"
    cost = None
    float32_names: frozenset[str] = frozenset()

    def __init__(self, path: pathlib.Path, signature: release.Signature) -> None:
        """
        Raises:
            ConfigError: the directory cannot be loaded here, or is not the model the signature describes.
        """
        self._signature = signature
        self._model = _loaded(path)
        self._raw = classifier_below(self._model)
        schema = self._model.metadata.get_input_schema()
        self._tensor: Any = None
        self._kinds: dict[str, str] = {}
        names = [column.name for column in signature.inputs]
        if schema is not None and schema.is_tensor_spec():
            self._tensor = _sole_tensor(schema)
        elif schema is not None:
            found = {str(column.name): KINDS.get(column.type.name, "object") for column in schema.inputs}
            if schema.has_input_names() and set(found) - set(names):
                raise model.mismatch(
                    f"The model takes {sorted(set(found) - set(names))!r:.200}, the signature does not."
                )
            self._kinds = found if schema.has_input_names() else {}
        outputs = [column.name for column in signature.outputs]
        self._scored = any(name.startswith(predictions.PROBABILITY) for name in outputs)
        if self._scored and self._raw is None:
            raise model.mismatch("The signature promises probabilities, the model answers by predict() alone.")

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        asked = np.array(rows, dtype=self._tensor) if self._tensor is not None else self._table(rows)
        outputs = self._signature.outputs
        if self._scored and self._raw is not None:
            return predictions.answer_columns(
                outputs, labels=np.asarray(self._raw.predict(asked)), probabilities=self._raw.predict_proba(asked)
            )
        return laid_out(self._model.predict(asked), [column.name for column in outputs])

    def _table(self, rows: Sequence[predictions.Row]) -> Any:
        columns = predictions.row_columns(self._signature, rows)
        # A column with holes stays float64: MLflow takes NaN for no whole number, and says so itself.
        kept = {name: kind for name, kind in self._kinds.items() if name in columns and columns[name].dtype.kind != "O"}
        table = pd.DataFrame(columns)
        whole = {name for name in kept if kept[name].startswith("int") and table[name].isna().any()}
        return table.astype({name: kind for name, kind in kept.items() if kind != "object" and name not in whole})


def load(found: model.Loading) -> MlflowModel:
    """See unpacked.load_model."""
    return MlflowModel(found.needed_path, found.content.signature)


def classifier_below(found: Any) -> Any | None:
    """The classifier of scikit-learn's kind that a pyfunc wraps; None when it wraps something else."""
    try:
        raw = found.get_raw_model() if hasattr(found, "get_raw_model") else None
    except Exception:  # noqa: BLE001  # a flavour that has none raises what it likes; pyfunc answers then
        return None
    return raw if hasattr(raw, "predict_proba") and hasattr(raw, "classes_") else None


def laid_out(answered: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """
    What a pyfunc answered, by output name.

    Raises:
        TypeError: it is of no form that has one answer per row.
    """
    if isinstance(answered, pd.DataFrame):
        answered = {str(name): answered[name].to_numpy() for name in answered.columns}
    if isinstance(answered, Mapping):
        if len(answered) == len(names) and set(answered) != set(names):
            return dict(zip(names, answered.values(), strict=True))
        return answered
    found = np.asarray(answered)
    if found.ndim == 0:
        raise TypeError(f"predict() returned a {type(answered).__name__}, not one answer per row.")
    matrix = found.reshape(len(found), -1)
    if matrix.shape[1] != len(names) and len(found):
        raise TypeError(f"predict() returned {matrix.shape[1]} values per row, the release has {len(names)} outputs.")
    return {name: matrix[:, place] for place, name in enumerate(names)}


def _loaded(path: pathlib.Path) -> Any:
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # versions that differ are the lock file's business
    try:
        return mlflow.pyfunc.load_model(str(path), suppress_warnings=True)
    except ModuleNotFoundError as error:
        raise model.unloadable(
            f"The MLflow model needs the module {error.name!r}, which the release's environment does not have.",
            remedy="Add what the model's own requirements.txt lists to requirements.lock, and build again.",
        ) from error
    except Exception as error:  # loading runs the flavour's and the pickle's own code: anything can come out
        raise model.unloadable(
            f"The MLflow model cannot be loaded ({model.one_line(error)}).",
            remedy="Load it with mlflow.pyfunc.load_model under the versions of requirements.lock, and build again.",
        ) from error


def _sole_tensor(schema: Any) -> Any:
    if len(schema.inputs) != 1 or len(schema.inputs[0].shape) != 2:
        shown = ", ".join(str(each) for each in schema.inputs)
        raise model.mismatch(f"The model takes tensors ({shown:.200}); one of shape (-1, features) is served.")
    return schema.inputs[0].type
