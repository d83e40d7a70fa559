"""Which runtime serves a committed model, by the kind of its file."""

from __future__ import annotations

import pathlib
import types
from collections.abc import Mapping

from softlaunch.core import release

RUNTIME_BY_SUFFIX: Mapping[str, release.Runtime] = types.MappingProxyType(
    {
        ".joblib": release.Runtime.SKLEARN,
        ".pkl": release.Runtime.SKLEARN,
        ".onnx": release.Runtime.ONNX,
        ".ubj": release.Runtime.XGBOOST,
        ".json": release.Runtime.XGBOOST,
        ".lgb": release.Runtime.LIGHTGBM,
        ".txt": release.Runtime.LIGHTGBM,
        ".cbm": release.Runtime.CATBOOST,
        ".pt2": release.Runtime.TORCH,
        ".pt": release.Runtime.TORCH,
    }
)
RUNTIME_BY_MARKER: Mapping[str, release.Runtime] = types.MappingProxyType(
    {"MLmodel": release.Runtime.MLFLOW, "tokenizer.json": release.Runtime.TEXT}
)
"""Files whose presence says what a directory is."""


def runtime_of(path: pathlib.PurePath, *, names: frozenset[str] = frozenset()) -> release.Runtime | None:
    """
    The runtime of a model file, or of a directory that holds files called `names`; None when it is neither.
    """
    for marker, runtime in RUNTIME_BY_MARKER.items():
        if marker in names:
            return runtime
    return RUNTIME_BY_SUFFIX.get(path.suffix)
