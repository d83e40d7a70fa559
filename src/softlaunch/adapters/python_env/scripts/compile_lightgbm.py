"""
Compiles a LightGBM file to ONNX, the same bytes for the same model.

Asked and answered as compile_sklearn: one float32 matrix of all features goes in.
"""

from __future__ import annotations

import pathlib
from typing import Any

from softlaunch.adapters.python_env.scripts import describe_lightgbm, exchange, onnx_boosting


def compile_model(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    booster = describe_lightgbm.load(request["path"])
    if booster.pandas_categorical:
        return {"problem": "its categories are kept in the file, and the graph would not know them", "form": None}
    try:
        raw = _compiled(onnx_boosting.rounded(booster) if request["float32"] else booster)
    except Exception as error:  # noqa: BLE001  # converters raise whatever they meet: none of it may stop the build
        return {"problem": exchange.one_line(error), "form": None}
    pathlib.Path(request["onnx"]).write_bytes(raw)
    return {"problem": None, "form": "matrix"}


def _compiled(booster: Any) -> bytes:
    from onnxmltools.convert.common import data_types  # noqa: PLC0415  # only in environments that can compile
    from onnxmltools.convert.lightgbm.convert import convert  # noqa: PLC0415

    types = [("rows", data_types.FloatTensorType([None, booster.num_feature()]))]
    found = convert(
        booster,
        name=onnx_boosting.GRAPH_NAME,
        initial_types=types,
        target_opset=onnx_boosting.OPSET_NATIVE,
        zipmap=False,
    )
    raw: bytes = found.SerializeToString(deterministic=True)
    return raw


if __name__ == "__main__":
    exchange.run(compile_model)
