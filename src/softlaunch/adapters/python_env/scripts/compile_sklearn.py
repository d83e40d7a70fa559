"""
Compiles a pickled scikit-learn model to ONNX, the same bytes for the same model.

Asked: path, code, inputs (name, datatype), float32 (see onnx_boosting), onnx (where to). Answers: problem (why it could
not, else None), form, own_code (whether the model imported modules of `code`).

Numeric models take one float32 matrix of all features, which is the fastest to feed. A model that picks columns by name
(ColumnTransformer), or takes text, gets one graph input per feature, named like it, of shape [N, 1].
"""

from __future__ import annotations

import pathlib
from typing import Any

from softlaunch.adapters.python_env.scripts import describe_sklearn, exchange, onnx_boosting, onnx_forests
from softlaunch.core import release


def compile_model(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    exchange.enter(request["code"])
    model = describe_sklearn.load(request["path"])
    inputs = [(each["name"], release.Datatype(each["datatype"])) for each in request["inputs"]]
    try:
        raw, form = _compiled(model, inputs, float32=request["float32"])
    except Exception as error:  # noqa: BLE001  # converters raise whatever they meet: none of it may stop the build
        return {"problem": exchange.one_line(error), "form": None, "own_code": True}
    pathlib.Path(request["onnx"]).write_bytes(raw)
    return {"problem": None, "form": form, "own_code": exchange.imports_from(request["code"])}


def _compiled(model: Any, inputs: list[tuple[str, release.Datatype]], *, float32: bool) -> tuple[bytes, str]:
    import skl2onnx  # noqa: PLC0415  # only in environments that can compile
    from skl2onnx.common import data_types  # noqa: PLC0415

    texts = any(datatype is release.Datatype.BYTES for _, datatype in inputs)
    if texts or _picks_columns(model):
        form = "columns"
        types = [
            (
                name,
                data_types.StringTensorType([None, 1])
                if datatype is release.Datatype.BYTES
                else data_types.FloatTensorType([None, 1]),
            )
            for name, datatype in inputs
        ]
    else:
        form, matrix = "matrix", "rows"
        while any(matrix == name for name, _ in inputs):
            matrix += "_"  # an input called like a feature would be taken for that feature alone
        types = [(matrix, data_types.FloatTensorType([None, len(inputs)]))]
    onnx_boosting.prepare(model, float32=float32)
    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    found = skl2onnx.convert_sklearn(
        model,
        name=onnx_boosting.GRAPH_NAME,
        initial_types=types,
        target_opset=onnx_boosting.OPSET,
        options=options,
    )
    onnx_forests.count_votes(found, model)
    return found.SerializeToString(deterministic=True), form


def _picks_columns(model: Any) -> bool:
    if not hasattr(model, "get_params"):
        return False
    parts = [model, *model.get_params(deep=True).values()]
    return any(hasattr(each, "transformers") and hasattr(each, "remainder") for each in parts)


if __name__ == "__main__":
    exchange.run(compile_model)
