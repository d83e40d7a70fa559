"""
Compiles an XGBoost file to ONNX, the same bytes for the same model.

Asked and answered as compile_sklearn: one float32 matrix of all features goes in.
"""

from __future__ import annotations

import pathlib
from typing import Any

from softlaunch.adapters.python_env.scripts import describe_xgboost, exchange, onnx_boosting


def compile_model(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    booster = describe_xgboost.load(request["path"])
    try:
        raw = _compiled(booster)
    except Exception as error:  # noqa: BLE001  # converters raise whatever they meet: none of it may stop the build
        return {"problem": exchange.one_line(error), "form": None}
    pathlib.Path(request["onnx"]).write_bytes(raw)
    return {"problem": None, "form": "matrix"}


def _compiled(booster: Any) -> bytes:
    from onnxmltools.convert.common import data_types  # noqa: PLC0415  # only in environments that can compile
    from onnxmltools.convert.xgboost.convert import convert  # noqa: PLC0415

    best, by_estimator = booster.attr("best_iteration"), booster.attr("scikit_learn") is not None
    if best is not None:
        if by_estimator:
            booster = booster[: int(best) + 1]
        # The converter would stop there also where a Booster does not.
        booster.set_attr(best_iteration=None, best_score=None)
    types = [("rows", data_types.FloatTensorType([None, booster.num_features()]))]
    booster.feature_names = None  # the converter takes none but f0, f1, ...
    found = convert(
        booster, name=onnx_boosting.GRAPH_NAME, initial_types=types, target_opset=onnx_boosting.OPSET_NATIVE
    )
    raw: bytes = found.SerializeToString(deterministic=True)
    return raw


if __name__ == "__main__":
    exchange.run(compile_model)
