"""
scikit-learn models, unpickled by joblib in the release's own environment.

Rows become a DataFrame when the model was fitted with feature names and pandas is there, else an array. Missing values
are NaN, in text columns too: that is what a model trained on a pandas table has seen.
"""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import predictions, release
from softlaunch.serving.runtimes import model


class SklearnModel:
    """See model.Model."""

    platform = "sklearn_joblib"
    cost = None
    float32_names: frozenset[str] = frozenset()

    def __init__(self, path: pathlib.Path, signature: release.Signature, *, thread_count: int) -> None:
        """
        Raises:
            ConfigError: the pickle cannot be loaded here, or is not the model the signature describes.
        """
        self._signature = signature
        self._estimator = _unpickled(path)
        if not hasattr(self._estimator, "predict"):
            raise model.unloadable(
                f"{path.name} holds a {type(self._estimator).__name__}, which has no predict().",
                remedy="Dump the fitted estimator or pipeline itself.",
            )
        _pin_threads(self._estimator, thread_count)
        names = [column.name for column in signature.inputs]
        _check_features(self._estimator, names)
        fitted = getattr(self._estimator, "feature_names_in_", None)
        self._order = None if fitted is None else [str(name) for name in fitted]
        self._pandas = _pandas() if self._order is not None else None
        outputs = [column.name for column in signature.outputs]
        self._scored = any(name.startswith(predictions.PROBABILITY) for name in outputs)
        self._labelled = predictions.LABEL in outputs
        if self._scored and not hasattr(self._estimator, "predict_proba"):
            raise model.mismatch("The signature promises probabilities, the model has no predict_proba().")

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """See model.Model.answer."""
        table = self._table(rows)
        outputs = self._signature.outputs
        probabilities = np.asarray(self._estimator.predict_proba(table)) if self._scored else None
        if self._labelled:
            labels = np.asarray(self._estimator.predict(table))
            return predictions.answer_columns(outputs, labels=labels, probabilities=probabilities)
        if probabilities is not None:
            return predictions.answer_columns(outputs, probabilities=probabilities)
        return predictions.answer_columns(outputs, values=np.asarray(self._estimator.predict(table)))

    def _table(self, rows: Sequence[predictions.Row]) -> Any:
        columns = {name: _with_nan(values) for name, values in predictions.row_columns(self._signature, rows).items()}
        if self._pandas is not None:
            return self._pandas.DataFrame({name: columns[name] for name in self._order or columns})
        ordered = [columns[name] for name in self._order or columns]
        if any(column.dtype == object for column in ordered):
            return np.column_stack([column.astype(object) for column in ordered])
        return np.column_stack([column.astype(np.float64) for column in ordered])


def load(found: model.Loading) -> SklearnModel:
    """See unpacked.load_model."""
    return SklearnModel(found.needed_path, found.content.signature, thread_count=found.thread_count)


def _unpickled(path: pathlib.Path) -> Any:
    try:
        import joblib  # noqa: PLC0415  # only in the environment of a release that needs it
    except ImportError as error:
        raise model.unloadable(
            f"The release's environment has no joblib ({model.one_line(error)}).",
            remedy="Add scikit-learn to the service's requirements and build the release again.",
        ) from error
    try:
        with warnings.catch_warnings():
            # Arrays of an uncompressed dump are read from the file: replicas share their pages. Others are as before.
            warnings.filterwarnings("ignore", message="mmap_mode")
            return joblib.load(path, mmap_mode="r")
    except ModuleNotFoundError as error:
        raise model.unloadable(
            f"{path.name} needs the module {error.name!r}, which the release's environment does not have.",
            remedy="Add it to the service's requirements (or commit the module), and build the release again.",
        ) from error
    except Exception as error:  # unpickling runs the pickle's own code: anything can come out
        raise model.unloadable(
            f"{path.name} cannot be unpickled ({model.one_line(error)}).",
            remedy="Dump the model with joblib under the versions the service's requirements pin, and build again.",
        ) from error


def _pin_threads(estimator: Any, thread_count: int) -> None:
    """
    Every part that would choose a number of threads by itself takes this one: forests, XGBoost, LightGBM.

    Only fitted estimators that follow scikit-learn's rules for parameters have them; others choose for themselves.
    """
    if not (callable(getattr(estimator, "get_params", None)) and callable(getattr(estimator, "set_params", None))):
        return
    wanted = [name for name in estimator.get_params(deep=True) if name == "n_jobs" or name.endswith("__n_jobs")]
    if wanted:
        estimator.set_params(**dict.fromkeys(wanted, thread_count))


def _pandas() -> Any | None:
    try:
        import pandas  # noqa: PLC0415  # heavy, and not every environment has it
    except ImportError:
        return None
    return pandas


def _check_features(estimator: Any, names: list[str]) -> None:
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is not None:
        trained = [str(name) for name in fitted]
        if sorted(trained) != sorted(names):
            odd = sorted(set(trained) ^ set(names))
            raise model.mismatch(f"The model was fitted on other features than the signature has: {odd!r:.200}.")
        return
    count = getattr(estimator, "n_features_in_", None)
    if count is not None and count != len(names):
        raise model.mismatch(f"The model was fitted on {count} features, the signature has {len(names)}.")


def _with_nan(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype != object:
        return values
    return np.array([np.nan if value is None else value for value in values], dtype=object)
