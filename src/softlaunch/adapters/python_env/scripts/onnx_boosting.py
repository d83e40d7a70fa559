"""
Boosted trees for the compilers: converters of XGBoost and LightGBM for skl2onnx, and models made ready for them.

Compiled trees compare in float32. XGBoost compares so itself. LightGBM and scikit-learn's histogram boosting compare
with float64 thresholds. Where data are float32 numbers, these are first rounded down to the next float32: for every
float32 number x, x <= rounded exactly when x <= threshold. Where data are decimals they are left to the converters,
which round to the nearest: a decimal that equals a threshold then stays on its side.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

GRAPH_NAME = "softlaunch"
"""Converters would make up a random one, and the bytes would differ every time."""
OPSET = {"": 18, "ai.onnx.ml": 3}
"""Understood by every onnxruntime since 1.14 (2023)."""
OPSET_NATIVE = 15
"""The newest that onnxmltools 1.16 writes."""
_DEPTH_MAX = 12
_THRESHOLDS = re.compile(r"^threshold=(.+)$", re.MULTILINE)
_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
"""Lengths of the trees' texts, which rounding changes; without them LightGBM reads one tree after the other."""


def prepare(model: Any, *, float32: bool) -> None:
    """
    Makes every boosted part of a scikit-learn model ready to be converted, in place.

    Args:
        float32: All numbers it will be asked about are float32 numbers; see the module.
    """
    parts = list(_parts(model, 0, set()))
    kinds = {type(each).__module__.split(".")[0] for each in parts}
    if "xgboost" in kinds:
        _register_xgboost()
    if "lightgbm" in kinds:
        _register_lightgbm()
    for each in parts:
        if type(each).__module__.startswith("xgboost"):
            each.get_booster().feature_names = None  # the converter takes none but f0, f1, ...
        elif not float32:
            continue
        elif type(each).__module__.startswith("sklearn"):
            nodes = each.nodes.copy()
            nodes["num_threshold"] = _down(nodes["num_threshold"])
            each.nodes = nodes
        else:
            each._Booster = rounded(each.booster_)  # noqa: SLF001  # there is no other way in


def rounded(booster: Any) -> Any:
    """The LightGBM booster with thresholds that are float32 numbers; see the module."""
    import lightgbm  # noqa: PLC0415  # only in environments of LightGBM models

    text = _SIZES.sub("", booster.model_to_string(num_iteration=-1))
    return lightgbm.Booster(model_str=_THRESHOLDS.sub(_rounded_line, text))


def _rounded_line(found: re.Match[str]) -> str:
    values = _down(np.array(found[1].split(), dtype=np.float64))
    return f"threshold={' '.join(repr(float(each)) for each in values)}"


def _down(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return np.where(narrow.astype(np.float64) > values, np.nextafter(narrow, np.float32(-np.inf)), narrow)


def _parts(found: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """Fitted estimators of the two libraries and scikit-learn's boosted trees, wherever the model keeps them."""
    if depth > _DEPTH_MAX or id(found) in seen or isinstance(found, str | bytes | int | float | np.ndarray | type):
        return
    seen.add(id(found))
    package = type(found).__module__.split(".")[0]
    if package in {"xgboost", "lightgbm"}:
        if hasattr(found, "get_booster") or hasattr(found, "booster_"):
            with contextlib.suppress(Exception):  # not fitted: a template that a meta-estimator keeps
                _ = found.get_booster() if package == "xgboost" else found.booster_
                yield found
        return
    if type(found).__name__ == "TreePredictor" and package == "sklearn":
        yield found
        return
    if isinstance(found, dict):
        inner: list[Any] = list(found.values())
    elif isinstance(found, list | tuple):
        inner = list(found)
    else:
        inner = list(getattr(found, "__dict__", {}).values())
    for each in inner:
        yield from _parts(each, depth + 1, seen)


def _register_xgboost() -> None:
    import skl2onnx  # noqa: PLC0415  # only in environments that can compile
    import xgboost  # noqa: PLC0415
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost  # noqa: PLC0415
    from skl2onnx.common import shape_calculator  # noqa: PLC0415

    for kind in (xgboost.XGBClassifier, xgboost.XGBRFClassifier):
        skl2onnx.update_registered_converter(
            kind,
            f"Softlaunch{kind.__name__}",
            shape_calculator.calculate_linear_classifier_output_shapes,
            convert_xgboost,
            options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
        )
    for kind in (xgboost.XGBRegressor, xgboost.XGBRFRegressor):
        skl2onnx.update_registered_converter(
            kind,
            f"Softlaunch{kind.__name__}",
            shape_calculator.calculate_linear_regressor_output_shapes,
            convert_xgboost,
        )


def _register_lightgbm() -> None:
    import lightgbm  # noqa: PLC0415  # only in environments of LightGBM models
    import skl2onnx  # noqa: PLC0415
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm  # noqa: PLC0415
    from skl2onnx.common import shape_calculator  # noqa: PLC0415

    skl2onnx.update_registered_converter(
        lightgbm.LGBMClassifier,
        "SoftlaunchLGBMClassifier",
        shape_calculator.calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    skl2onnx.update_registered_converter(
        lightgbm.LGBMRegressor,
        "SoftlaunchLGBMRegressor",
        shape_calculator.calculate_linear_regressor_output_shapes,
        convert_lightgbm,
        options={"split": None},
    )
